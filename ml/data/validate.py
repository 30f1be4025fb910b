"""Second half of an ingest: Great Expectations over the batch, then accept, quarantine, duplicate.

Labels are committed before images: an image counts as ingested only when all of it is there.
What was decided stands, however often a batch is validated; only a replay decides anew.
"""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml import files
from ml.data import catalog
from ml.data.batch import gone_from, is_replay, listed_before, listed_count, moment_of, read_batch
from ml.data.decide import (
    COLUMNS,
    Decision,
    Past,
    Row,
    decide,
    is_held,
    late_labels,
    row_key,
    settled,
)
from ml.data.suite import suite
from ml.data.validation_report import SHOWN_BATCHES, render_docs, render_report
from ml.errors import CountError, DataError
from ml.settings import Home, LineConfig


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


def validate(home: Home, line: LineConfig, batch: str) -> Outcome:
    """Decide over every image of a staged batch and commit it. An empty batch name does nothing.

    Raises DataError when a check could not be made, CountError when the catalog does not hold
    every object that the ingest listed as accepted, quarantined or duplicate.
    """
    if not batch:
        return Outcome("", 0, 0, 0, {}, [], None)
    table = read_batch(home, line.name, batch)
    staged = table.to_pylist()
    failed, results = _run_suite(line, staged)
    # What is decided hangs on what the catalog has: no other ingest may write it in between.
    with catalog.locked(home, line.name):
        decision, decided = _decide(home, line.name, table, failed, batch)
        report = home.reports(line.name) / "validate" / f"{batch}.html"
        outcome = _count(decided, batch, report)
        files.write_bytes(report, render_report(line, outcome, results, decided).encode())
        _commit(home, line.name, decision)
        _require_all(home, line.name, outcome, decision, decided, listed_count(table))
        write_docs(home, line)
    return outcome


def _decide(
    home: Home,
    line: str,
    table: pa.Table,
    failed: dict[int, str],
    batch: str,
) -> tuple[Decision, list[Row]]:
    """The decision over what is open of a staged batch, and the row of each of its images."""
    staged = table.to_pylist()
    related = _related(home, line, table)
    known = related.to_pylist()
    objects = {row["object"] for row in staged}
    names = {row["batch"] for row in known if row["object"] in objects}
    earlier = listed_before(home, line, names, moment_of(table))
    bytes_of = _hashes(table, related)
    labels = catalog.read_labels(home, line, source="layout", of=bytes_of)
    past = Past.read(known, labels, earlier, gone_from(table))
    done = settled(past, staged, is_replay=is_replay(table))
    numbers = [number for number, row in enumerate(staged) if row_key(row) not in done]
    late = late_labels(past, staged, failed, done)
    past = replace(past, labels=past.labels | {label["sha256"]: label for label in late})
    decision = decide(
        [staged[number] for number in numbers],
        {at: failed[number] for at, number in enumerate(numbers) if number in failed},
        past,
        batch,
    )
    decision = replace(decision, labels=[*late, *decision.labels])
    now = done | {row_key(row): row for row in [*decision.changed, *decision.rows]}
    return decision, [now[row_key(row)] for row in staged]


def _related(home: Home, line: str, staged: pa.Table) -> pa.Table:
    """The rows of the catalog that a batch hangs on: its objects, and those of the same bytes.

    And those of the bytes that its objects had before: a copy takes the place of a replaced image.
    """
    names, hashes = staged["object"], staged["sha256"]
    found = catalog.read_images_of(home, line, COLUMNS, objects=names, sha256=hashes)
    same_object = found.filter(pc.is_in(found["object"], names.combine_chunks()))
    if pc.all(pc.is_in(same_object["sha256"], hashes.combine_chunks())).as_py():
        return found
    hashes = _hashes(staged, same_object)
    return catalog.read_images_of(home, line, COLUMNS, objects=names, sha256=hashes)


def _hashes(*tables: pa.Table) -> pa.Array:
    chunks = [chunk for table in tables for chunk in table["sha256"].chunks]
    return pa.chunked_array(chunks, pa.string()).unique()


def write_docs(home: Home, line: LineConfig) -> None:
    """Write the line's validation page, from what its catalog has now."""
    page = home.reports(line.name) / "validate" / "index.html"
    counts = catalog.count_reasons(home, line.name)
    batches = catalog.count_batches(home, line.name, SHOWN_BATCHES)
    files.write_bytes(page, render_docs(line, suite(line.checks), counts, *batches).encode())


def _run_suite(line: LineConfig, staged: list[Row]) -> tuple[dict[int, str], list[dict[str, Any]]]:
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
        # A check that crashed has no bad rows either: it must not accept everything.
        if result.success == bool(bad) or result.exception_info.get("raised_exception", True):
            why = _exception_message(result.exception_info)
            msg = f"line {line.name}: {expectation} could not be made: {why}; nothing was accepted"
            raise DataError(msg)
        results.append({"expectation": expectation, "failed": len(bad)})
        for row in bad:
            failed.setdefault(int(row), staged[int(row)]["problem"] or expectation.reason)
    return failed, results


def _exception_message(info: dict[str, Any]) -> str:
    # Of one exception, or of several by the name of the metric.
    told = info if "raised_exception" in info else next(iter(info.values()), {})
    return str(told.get("exception_message"))


def _class_name(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_"))


def _count(rows: list[Row], batch: str, report: Path) -> Outcome:
    return Outcome(
        batch,
        *_counted(rows),
        dict(sorted(Counter(row["reason"] for row in rows if is_held(row)).items())),
        sorted({row["day"] for row in rows if row["status"] == "accepted"}),
        report,
    )


def _counted(rows: list[Row]) -> tuple[int, int, int]:
    """How many rows are accepted, quarantined, and duplicates."""
    counts = Counter("quarantined" if is_held(row) else row["status"] for row in rows)
    return (
        counts["accepted"] + counts["replaced"],
        counts["quarantined"] + counts["dropped"],
        counts["duplicate"],
    )


def _commit(home: Home, line: str, decision: Decision) -> None:
    labels = pa.Table.from_pylist(decision.labels, schema=catalog.LABELS)
    catalog.upsert_labels(home, line, labels)
    rows = decision.rows + _whole(home, line, decision.changed)
    catalog.upsert_images(home, line, pa.Table.from_pylist(rows, schema=catalog.IMAGES))


def _whole(home: Home, line: str, changed: list[Row]) -> list[Row]:
    """Changed rows with the columns that the decision did not need."""
    now = {row_key(row): row for row in changed}
    named = pa.array([row["object"] for row in changed], pa.string())
    rows: list[Row] = []
    for day in sorted({row["day"] for row in changed}):
        found = catalog.read_images_of(home, line, catalog.IMAGES.names, objects=named, day=day)
        rows += found.to_pylist()
    return [row | now[row_key(row)] for row in rows if row_key(row) in now]


def _require_all(
    home: Home, line: str, outcome: Outcome, decision: Decision, decided: list[Row], listed: int
) -> None:
    """Compare what the ingest listed with what the catalog has now."""
    new = {row_key(row) for row in decision.rows}
    stored = catalog.read_images(home, line, batch=outcome.batch, status=None, columns=COLUMNS)
    rows = [row for row in decided if row_key(row) not in new]
    rows += [row for row in stored.to_pylist() if row_key(row) in new]
    found = _counted(rows)
    if found != (outcome.accepted, outcome.quarantined, outcome.duplicate) or sum(found) != listed:
        msg = (
            f"batch {outcome.batch}: {listed} listed, but the catalog has {found[0]} accepted + "
            f"{found[1]} quarantined + {found[2]} duplicate; run `loupe ingest --line {line}` again"
        )
        raise CountError(msg)
