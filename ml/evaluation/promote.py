"""The `gate` and `promote` steps: decide, record, and switch the live bundle."""

from dataclasses import dataclass
from typing import Any

from ml import files
from ml.audit import ledger
from ml.bundle import Bundle, load_bundle
from ml.bundle.live import live_record
from ml.errors import BundleError
from ml.evaluation.gate import Judgement, judge
from ml.evaluation.registry import register
from ml.evaluation.report import report_path
from ml.results import Document, ResultStore, open_results
from ml.settings import Env, Home, LineConfig


@dataclass(frozen=True)
class Promotion:
    """The live bundle, the one before it, and its version in the registry."""

    bundle: str
    previous: str | None
    version: str


def gate(env: Env, home: Home, line: LineConfig, name: str) -> Judgement:
    """Judge a bundle and record the decision; raises BundleError when it is altered."""
    bundle = _load(home, line, name)
    judgement = judge(env, home, line, bundle)
    store = open_results(env, home)
    if _is_live(home, line, name):
        return judgement
    register(env, bundle, "challenger")
    decision = "waiting" if judgement.promote else "kept"
    _put_run(store, home, bundle, decision, judgement.reasons)
    return judgement


def promote(env: Env, home: Home, line: LineConfig, name: str, by: str) -> Promotion:
    """Make a verified bundle the champion. Promoting the champion again changes nothing.

    The order lets a killed promotion be repeated: registry, ledger, live file, documents.
    """
    bundle = _load(home, line, name)
    record = _next_record(home, line, name)
    version = register(env, bundle, "champion")
    entry = {"key": f"promotion-{record['number']:06d}", "by": by, "step": "promote", **record}
    ledger.append(home.ledger(line.name, "promotions"), entry)
    if not _is_live(home, line, name):
        files.write_json(home.live(line.name), record)
    _publish(open_results(env, home), home, line, bundle)
    return Promotion(name, record["previous"], version)


def _load(home: Home, line: LineConfig, name: str) -> Bundle:
    bundle = load_bundle(home, name)
    if bundle.card.line != line.name:
        msg = f"bundle {name} is of line {bundle.card.line}, not of {line.name}"
        raise BundleError(msg)
    return bundle


def _is_live(home: Home, line: LineConfig, name: str) -> bool:
    record = live_record(home, line.name)
    return record is not None and record["bundle"] == name


def _next_record(home: Home, line: LineConfig, name: str) -> dict[str, Any]:
    record = live_record(home, line.name)
    if record is not None and record["bundle"] == name:
        return record
    previous = None if record is None else record["bundle"]
    number = 1 if record is None else record["number"] + 1
    return {"line": line.name, "bundle": name, "previous": previous, "number": number}


def _publish(store: ResultStore, home: Home, line: LineConfig, bundle: Bundle) -> None:
    known = store.get("runs", _run_id(bundle)) or {}
    _put_run(store, home, bundle, "promoted", tuple(known.get("reasons", ())))
    spread = line.source.spread
    document = {
        "line": line.name,
        "title": line.title,
        "description": line.description,
        "models": list(line.models),
        "bundle": bundle.name,
        "spread": None if spread is None else spread.model_dump(mode="json"),
    }
    store.put("lines", {line.name: document})


def _put_run(
    store: ResultStore, home: Home, bundle: Bundle, decision: str, reasons: tuple[str, ...]
) -> None:
    card = bundle.card
    page = report_path(home, card.line, bundle.name)
    document: Document = {
        "line": card.line,
        "bundle": bundle.name,
        "dataset": card.dataset,
        "decision": decision,
        "reasons": list(reasons),
        "metrics": {name: metric.model_dump() for name, metric in card.metrics.items()},
        "warnings": list(card.warnings),
        "report": page.relative_to(home.root / "reports").as_posix(),
        "dataset_counts": card.dataset_counts,
    }
    store.put("runs", {_run_id(bundle): document})


def _run_id(bundle: Bundle) -> str:
    return f"{bundle.card.line}__{bundle.name}"
