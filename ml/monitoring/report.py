"""Evidently's pages of a day's image and embedding drift, for people; decisions are made elsewhere.

The method is pinned: Evidently's presets switch it with the number of rows.
"""

import os
import warnings

import numpy as np

from ml import files
from ml.data.measure import MEASURES
from ml.monitoring.compare import Columns, has_embeddings
from ml.settings import Home, LineConfig

_MAX_ROWS = 10_000
_COMPONENTS = 10
_LEVEL = 0.01
# Evidently tests each column alone and says "dataset drift" where half of them drifted: that may be
# the opposite of what the night's tests found.
_NOTE = """<p style="font:15px/1.5 system-ui,sans-serif;margin:1rem;padding:.5rem 1rem;
border-left:4px solid #b8860b;background:#fff3cd;color:#1a1a1a"><strong>{day}, {kind} drift:
{severity}.</strong> That is what the night's own tests found, which are corrected together (Holm)
and listed on the dashboard. On this page each column is tested alone at a level of {level:g},
without correction; what it calls drift, or no drift, decides nothing.</p>"""


def write_reports(
    home: Home,
    line: LineConfig,
    day: str,
    reference: Columns,
    current: Columns,
    severities: dict[str, str],
) -> dict[str, str]:
    """Write one page per kind that has columns, of the rows that the tests see.

    Each is headed by what the tests found: `severities` (`none`, `warning`, `alarm`) by kind.
    Returns the paths of the pages below the reports of LOUPE_HOME, by kind.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    frames = {"image": [_measures(side) for side in (reference, current)]}
    if has_embeddings(reference):
        frames["embedding"] = _components(reference, current)
    written = {}
    for kind, (before, now) in frames.items():
        path = home.reports(line.name) / "drift" / f"{day}-{kind}.html"
        note = _NOTE.format(day=day, kind=kind, severity=severities[kind], level=_LEVEL)
        page = _page(before, now).replace("<body>", f"<body>{note}", 1)
        files.write_bytes(path, page.encode())
        written[kind] = path.relative_to(home.root / "reports").as_posix()
    return written


def _measures(side: Columns) -> dict[str, list[float]]:
    return {name: side[name][:_MAX_ROWS].tolist() for name in MEASURES}


def _components(reference: Columns, current: Columns) -> list[dict[str, list[float]]]:
    """The first principal components of the reference's embeddings, for both."""
    before, now = (side["embedding"][:_MAX_ROWS] for side in (reference, current))
    centre = before.mean(axis=0)
    axes = np.linalg.svd(before - centre, full_matrices=False)[2][:_COMPONENTS]
    return [
        {f"component {n}": ((rows - centre) @ axis).tolist() for n, axis in enumerate(axes, 1)}
        for rows in (before, now)
    ]


def _page(before: dict[str, list[float]], now: dict[str, list[float]]) -> str:
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    columns = DataDefinition(numerical_columns=list(before))
    reference, current = (
        Dataset.from_pandas(pd.DataFrame(frame), data_definition=columns) for frame in (before, now)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        snapshot = Report([DataDriftPreset(num_method="ks", num_threshold=_LEVEL)]).run(
            current, reference
        )
        page: str = snapshot.get_html_str(as_iframe=False)
    return page
