"""The `reject` step: a bundle that waits for its promotion does not get it."""

from datetime import UTC, datetime

from ml import files
from ml.audit import ledger
from ml.audit.promotions import Rejection, rejected
from ml.bundle.history import read_history
from ml.bundle.live import live_name, stop_waiting
from ml.errors import BundleError
from ml.evaluation.documents import has_run, put_out
from ml.results import open_results
from ml.settings import Env, Home, LineConfig


def reject(env: Env, home: Home, line: LineConfig, name: str, by: str, reason: str) -> Rejection:
    """Record that a person refused a bundle; it waits no more, and only a person may promote it.

    Repeated, or killed and repeated, it says what was recorded first. Raises BundleError when the
    gate never judged the bundle or it is live, LedgerError when the ledger is altered.
    """
    store = open_results(env, home)
    if not has_run(store, line.name, name):
        msg = f"line {line.name}: the gate has not judged a bundle {name}; see `loupe gate`"
        raise BundleError(msg)
    path = home.promotions(line.name)
    with files.locked(path.parent):
        if live_name(home, line.name) == name:
            msg = f"line {line.name}: bundle {name} is live; take it out with `loupe rollback`"
            raise BundleError(msg)
        history = read_history(home, line.name)
        number = history[-1].number if history else 0
        now = datetime.now(UTC).replace(microsecond=0)
        ledger.append(path, Rejection(line.name, number, name, by, reason, now).as_entry())
        stop_waiting(home, line.name, name)
        found = rejected(path, name)
    assert found is not None  # it stands in the ledger now
    put_out(store, line.name, name, "rejected", found)
    return found
