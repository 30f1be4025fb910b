"""The `drift` step: one day against the champion's reference; severity, alerts, retrain request."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ml.bundle import Bundle
from ml.bundle.live import live_bundle
from ml.data import catalog
from ml.data.measure import MEASURES
from ml.errors import DataError
from ml.monitoring.report import write_reports
from ml.monitoring.statistics import (
    Test,
    by_part,
    distribution_test,
    embedding_test,
    holm,
    share_test,
)
from ml.results import Document, ResultStore
from ml.settings import Home, LineConfig

KINDS = ("image", "embedding", "model")

# A rejected test with a shift of this many standard deviations is an alarm, below it a warning.
_ALARM_EFFECT = 1.0

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Drift:
    """What a day's checks found."""

    severity: str
    kinds: dict[str, str]
    retrain: bool
    reports: list[str]


def drift(home: Home, line: LineConfig, store: ResultStore, day: str) -> Drift:
    """Compare a day with the champion's reference and write its windows and alerts.

    Raises DataError when the day has no predictions, BundleError when the champion was altered.
    """
    bundle = live_bundle(home, line.name)
    current = _current(home, line.name, day)
    if bundle is None or not current:
        what = "no champion is live" if bundle is None else f"no predictions of {day}"
        msg = f"line {line.name}: {what}; run `loupe {'promote' if bundle is None else 'predict'}`"
        raise DataError(msg)
    reference = _comparable(bundle, pq.read_table(bundle.reference).to_pylist())
    enough = len(current) >= line.monitor.min_images
    tests = _tests(reference, current) if enough else {kind: [] for kind in KINDS}
    reports = write_reports(home, line, day, reference, current) if enough else {}
    windows = _windows(line, day, tests, len(current), reports)
    kinds = {kind: windows[kind]["severity"] for kind in KINDS}
    severity = _worst(list(kinds.values()))
    retrain = severity == "alarm" and line.monitor.retrain
    _store(store, line, day, windows, retrain)
    return Drift(severity, kinds, retrain, sorted(reports.values()))


def _current(home: Home, line: str, day: str) -> Rows:
    """Rows of the day that have scores: its measures and its predictions together."""
    images = {row["object"]: row for row in catalog.read_images(home, line, day=day).to_pylist()}
    predictions = catalog.read_predictions(home, line, day=day).to_pylist()
    return [
        images[row["object"]] | row
        for row in predictions
        if row["p_defect"] is not None and row["object"] in images
    ]


def _comparable(bundle: Bundle, rows: Rows) -> Rows:
    """Reference rows with the verdicts that the champion's thresholds give them."""
    limits = bundle.card.thresholds
    return [
        row | {"flagged": row["p_defect"] > limits.pass_below, "part": row["part"]} for row in rows
    ]


def _tests(reference: Rows, current: Rows) -> dict[str, list[Test]]:
    parts = [[row["part"] for row in rows] for rows in (reference, current)]

    def both(values: list[Any]) -> tuple[Any, Any]:
        first, second = (np.array(column, float) for column in values)
        return by_part(parts[0], first), by_part(parts[1], second)

    def columns(name: str) -> tuple[Any, Any]:
        return both([[row[name] for row in rows] for rows in (reference, current)])

    image = [distribution_test(name, *columns(name)) for name in MEASURES]
    embedding = [embedding_test("embedding", *columns("embedding"))]
    odds = both([[_log_odds(row["p_defect"]) for row in rows] for rows in (reference, current)])
    held = [row["verdict"] != "pass" for row in current]
    expected = float(np.mean([row["flagged"] for row in reference]))
    flagged = by_part(parts[1], np.array(held, float)) >= 0.5
    model = [
        distribution_test("defect log-odds", *odds),
        share_test("share not passed", expected, int(flagged.sum()), len(flagged)),
    ]
    return {"image": image, "embedding": embedding, "model": model}


def _windows(
    line: LineConfig,
    day: str,
    tests: dict[str, list[Test]],
    images: int,
    reports: dict[str, str],
) -> dict[str, Document]:
    flat = [test for kind in KINDS for test in tests[kind]]
    levels = dict(
        zip(
            [test.name for test in flat],
            holm([t.p_value for t in flat], line.monitor.alpha),
            strict=True,
        )
    )
    return {
        kind: {
            "line": line.name,
            "day": day,
            "kind": kind,
            "severity": _severity(tests[kind], levels),
            "images": images,
            "note": "" if flat else f"too few images: {images} of {line.monitor.min_images}",
            "tests": [_as_document(test, levels[test.name]) for test in tests[kind]],
            "report": reports.get(kind, ""),
        }
        for kind in KINDS
    }


def _severity(tests: list[Test], levels: dict[str, float]) -> str:
    drifted = [test for test in tests if levels[test.name]]
    if any(test.effect >= _ALARM_EFFECT for test in drifted):
        return "alarm"
    return "warning" if drifted else "none"


def _as_document(test: Test, level: float) -> Document:
    return {
        "name": test.name,
        "statistic": round(test.statistic, 6),
        "p_value": float(f"{test.p_value:.4g}"),
        "threshold": float(f"{level:.4g}"),
        "effect": round(test.effect, 4),
        "drifted": level > 0,
    }


def _store(
    store: ResultStore,
    line: LineConfig,
    day: str,
    windows: dict[str, Document],
    retrain: bool,
) -> None:
    names = {kind: f"{line.name}__{day}__{kind}" for kind in KINDS}
    store.put("windows", {names[kind]: windows[kind] for kind in KINDS})
    alerts = {
        names[kind]: _alert(windows[kind], retrain)
        for kind in KINDS
        if windows[kind]["severity"] != "none"
    }
    store.put("alerts", alerts)
    store.delete("alerts", [name for name in names.values() if name not in alerts])


def _alert(window: Document, retrain: bool) -> Document:
    drifted = [test for test in window["tests"] if test["drifted"]]
    detail = "; ".join(
        f"{test['name']}: shifted by {test['effect']:.1f} deviations (p {test['p_value']:.2g})"
        for test in drifted
    )
    alarm = window["severity"] == "alarm"
    return {
        "line": window["line"],
        "day": window["day"],
        "kind": window["kind"],
        "severity": window["severity"],
        "title": f"{window['kind'].capitalize()} drift on {window['day']}",
        "detail": detail,
        "action": "retrain" if alarm and retrain else "flag",
    }


def _worst(severities: list[str]) -> str:
    order = ("none", "warning", "alarm")
    return max(severities, key=order.index)


def _log_odds(p: float) -> float:
    clipped = min(max(p, 1e-9), 1 - 1e-9)
    return float(np.log(clipped / (1 - clipped)))
