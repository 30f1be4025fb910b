"""Switch the live bundle, in an order that lets a killed switch be repeated."""

from datetime import UTC, datetime

from ml import files
from ml.audit import ledger
from ml.audit.promotions import Step, Switch
from ml.bundle import Bundle, load_bundle
from ml.bundle.history import is_live
from ml.bundle.live import stop_waiting
from ml.evaluation.documents import put_live
from ml.evaluation.registry import register
from ml.results import open_results
from ml.settings import Env, Home, LineConfig


def load_of_line(home: Home, line: LineConfig, name: str) -> Bundle:
    """A verified bundle of this line; raises BundleError when it is altered or of another line."""
    return load_bundle(home, name, line.name)


def next_switch(
    line: LineConfig, now: Switch | None, bundle: str, step: Step, by: str, reason: str = ""
) -> Switch:
    """The switch that follows `now`; its time is this moment, and never before that of `now`."""
    at = datetime.now(UTC).replace(microsecond=0)
    return Switch(
        line=line.name,
        number=1 if now is None else now.number + 1,
        step=step,
        bundle=bundle,
        previous=None if now is None else now.bundle,
        by=by,
        reason=reason,
        at=max(at, now.at) if now is not None and now.at is not None else at,
    )


def finish(env: Env, home: Home, line: LineConfig, bundle: Bundle, switch: Switch) -> str:
    """Carry a switch out, or what is missing of it: ledger, live file, registry, documents.

    The caller holds the lock of the line's ledger. Returns the bundle's version in the registry.
    Raises StackError or ResultsError when one of the last two does not answer: the bundle is live
    then, and the same command finishes the rest.
    """
    ledger.append(home.promotions(line.name), switch.as_entry())
    if not is_live(home, switch):
        files.write_json(home.live(line.name), switch.record)
    stop_waiting(home, line.name, switch.bundle)
    # After the live file: a bad champion must not stay because MLflow is down.
    version = register(env, bundle, "champion")
    put_live(open_results(env, home), home, line, bundle, switch)
    return version
