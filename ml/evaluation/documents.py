"""What the results store says of evaluated bundles: `runs`, and the live one in `lines`."""

from typing import Literal

from ml.audit.promotions import Rejection, Switch
from ml.bundle import Bundle
from ml.evaluation.report import report_path
from ml.results import Document, ResultStore
from ml.settings import Home, LineConfig

Refusal = Literal["rolled_back", "rejected"]
Decision = Literal["promoted", "kept", "waiting"] | Refusal


def put_decision(
    store: ResultStore, home: Home, bundle: Bundle, decision: Decision, reasons: tuple[str, ...]
) -> None:
    """Write the document of an evaluated bundle."""
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
    store.put("runs", {_run_id(card.line, bundle.name): document})


def put_live(
    store: ResultStore, home: Home, line: LineConfig, bundle: Bundle, switch: Switch
) -> None:
    """Write what a switch changes. The line's own document is last: it says that all is done."""
    known = store.get("runs", _run_id(line.name, bundle.name)) or {}
    put_decision(store, home, bundle, "promoted", tuple(known.get("reasons", ())))
    if switch.step == "rollback" and switch.previous is not None:
        put_out(store, line.name, switch.previous, "rolled_back", switch)
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


def live_in_documents(store: ResultStore, line: str) -> str | None:
    """The bundle that the line's document names."""
    return (store.get("lines", line) or {}).get("bundle")


def has_run(store: ResultStore, line: str, bundle: str) -> bool:
    """Whether a bundle of a line has a document."""
    return store.get("runs", _run_id(line, bundle)) is not None


def put_out(
    store: ResultStore,
    line: str,
    bundle: str,
    decision: Refusal,
    entry: Switch | Rejection,
) -> None:
    """Write that a person refused a bundle, as an entry of the ledger says."""
    run = store.get("runs", _run_id(line, bundle))
    if run is None:
        return
    at = "" if entry.at is None else entry.at.isoformat(timespec="seconds")
    said = f"{decision.replace('_', ' ')} at {at} by {entry.by}"
    said += f": {entry.reason}" if entry.reason else ""
    document = {key: value for key, value in run.items() if key != "id"}
    reasons = [*(reason for reason in run["reasons"] if reason != said), said]
    changed = document | {"decision": decision, "reasons": reasons}
    store.put("runs", {_run_id(line, bundle): changed})


def _run_id(line: str, bundle: str) -> str:
    return f"{line}__{bundle}"
