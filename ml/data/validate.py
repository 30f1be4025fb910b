"""Second half of an ingest: Great Expectations over the batch, then accept, quarantine, duplicate.

Labels are committed before images: an image counts as ingested only when all of it is there.
"""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ml import files
from ml.data import catalog
from ml.data.ingest import read_staging
from ml.data.validation_report import render_report
from ml.errors import CountError
from ml.settings import Home, LineConfig
from ml.settings.line import ChecksConfig


@dataclass(frozen=True)
class Expectation:
    """One expectation of the suite; a row that fails it is quarantined for `reason`."""

    reason: str
    kind: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Counts of one validated batch; `reasons` of the quarantined."""

    batch: str
    accepted: int
    quarantined: int
    duplicate: int
    reasons: dict[str, int]
    days: list[str]
    report: Path | None

    @property
    def listed(self) -> int:
        return self.accepted + self.quarantined + self.duplicate


def suite(checks: ChecksConfig) -> list[Expectation]:
    """The expectations of a line, in the order in which they give the reason."""
    between = "expect_column_values_to_be_between"
    within = "expect_column_values_to_be_in_set"
    expectations = [
        Expectation("undecodable", within, {"column": "problem", "value_set": [""]}),
        Expectation("too_small", between, {"column": "side", "min_value": checks.min_side}),
        Expectation(
            "brightness",
            between,
            {
                "column": "brightness",
                "min_value": checks.brightness[0],
                "max_value": checks.brightness[1],
            },
        ),
        Expectation("contrast", between, {"column": "contrast", "min_value": checks.min_contrast}),
    ]
    if checks.sizes:
        names = [f"{height}x{width}" for height, width in checks.sizes]
        wrong_size = Expectation("wrong_size", within, {"column": "size", "value_set": names})
        expectations.insert(1, wrong_size)
    return expectations


def validate(home: Home, line: LineConfig, batch: str) -> Outcome:
    """Decide over every image of a staged batch and commit it. An empty batch name does nothing.

    Raises CountError when accepted, quarantined and duplicate do not add up to what was listed.
    """
    if not batch:
        return Outcome("", 0, 0, 0, {}, [], None)
    staged = read_staging(home, line.name, batch).to_pylist()
    failed, results = _run_suite(line, staged)
    rows = _decided(staged, failed, _known_content(home, line.name, staged), batch)
    outcome = _count(rows, batch, home.reports(line.name) / "validate" / f"{batch}.html")
    if outcome.listed != len(staged):
        msg = f"batch {batch}: {len(staged)} listed, but {outcome.listed} decided; nothing stored"
        raise CountError(msg)
    assert outcome.report is not None
    files.write_bytes(outcome.report, render_report(line, outcome, results, rows).encode())
    _commit(home, line.name, staged, rows)
    _move_watermark(home, line.name)
    return outcome


def _run_suite(
    line: LineConfig, staged: list[dict[str, Any]]
) -> tuple[dict[int, str], list[dict[str, Any]]]:
    """Row number → reason of its first failed expectation, and one result per expectation."""
    # Both must be set before the first import; there is nobody to send usage figures to.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    os.environ.setdefault("TQDM_DISABLE", "1")
    import great_expectations as gx
    import pandas as pd

    frame = pd.DataFrame(staged)
    frame["row"] = range(len(frame))
    frame["size"] = [f"{row['height']}x{row['width']}" for row in staged]
    frame["side"] = frame[["height", "width"]].min(axis=1)
    context = gx.get_context(mode="ephemeral")
    # No progress bars: the log of a night is read by people.
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("batch").add_dataframe_asset("images")
    whole = asset.add_batch_definition_whole_dataframe("all")
    batch = whole.get_batch(batch_parameters={"dataframe": frame})
    failed: dict[int, str] = {}
    results = []
    for expectation in suite(line.checks):
        kind = gx.expectations.__dict__[_class_name(expectation.kind)]
        result = batch.validate(
            kind(**expectation.arguments),
            result_format={"result_format": "COMPLETE", "include_unexpected_rows": False},
        )
        bad = result.result.get("unexpected_index_list") or []
        results.append({"expectation": expectation, "failed": len(bad)})
        for row in bad:
            failed.setdefault(int(row), staged[int(row)]["problem"] or expectation.reason)
    return failed, results


def _class_name(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_"))


def _known_content(home: Home, line: str, staged: list[dict[str, Any]]) -> set[str]:
    """SHA-256 of what was accepted before, leaving out this batch (it may be a second try)."""
    mine = {(row["object"], row["version"]) for row in staged}
    accepted = catalog.read_images(home, line).select(["object", "version", "sha256"]).to_pylist()
    return {row["sha256"] for row in accepted if (row["object"], row["version"]) not in mine}


def _decided(
    staged: list[dict[str, Any]], failed: dict[int, str], known: set[str], batch: str
) -> list[dict[str, Any]]:
    seen = set(known)
    rows = []
    for number, row in enumerate(staged):
        status, reason = "accepted", ""
        if number in failed:
            status, reason = "quarantined", failed[number]
        elif row["sha256"] in seen:
            status, reason = "duplicate", "same bytes as an accepted image"
        else:
            seen.add(row["sha256"])
        rows.append(row | {"status": status, "reason": reason, "batch": batch})
    return rows


def _count(rows: list[dict[str, Any]], batch: str, report: Path) -> Outcome:
    counts = Counter(row["status"] for row in rows)
    return Outcome(
        batch,
        counts["accepted"],
        counts["quarantined"],
        counts["duplicate"],
        dict(sorted(Counter(r["reason"] for r in rows if r["status"] == "quarantined").items())),
        sorted({row["day"] for row in rows if row["status"] == "accepted"}),
        report,
    )


def _commit(
    home: Home, line: str, staged: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> None:
    labels = [
        {key: row[key] for key in ("sha256", "label", "defect_type", "mask")}
        | {"source": "layout", "by": "", "at": ""}
        for row in rows
        if row["status"] == "accepted" and row["label"]
    ]
    catalog.upsert_labels(home, line, pa.Table.from_pylist(labels, schema=catalog.LABELS))
    images = [{name: row[name] for name in catalog.IMAGES.names} for row in rows]
    catalog.upsert_images(home, line, pa.Table.from_pylist(images, schema=catalog.IMAGES))


def _move_watermark(home: Home, line: str) -> None:
    table = catalog.read_images(home, line, status=None)
    days = table["day"].to_pylist()
    mark = {"objects": table.num_rows, "newest_day": max(days, default="")}
    files.write_json(home.watermark(line), mark)
