"""Are the live bundle and the refused ones those that the ledger of promotions recorded?"""

from ml.bundle.history import is_live, read_history, refused
from ml.data.layout import some_of
from ml.errors import LedgerError
from ml.results import ResultStore
from ml.settings import Home

_NO_LEDGER = (
    "not there, though a bundle is live: the ledger was removed, or an earlier Loupe promoted it. "
    "`loupe promote` of that bundle records it"
)
_NOT_LIVE = (
    "not as the ledger ends, with {step} {number}, which makes bundle {bundle} live: it is under "
    "way, or was never finished, and `loupe {step}` finishes it; if neither, the file was altered"
)
_LOST = (
    "it does not say that these bundles were rejected or rolled back, though the results store "
    "does: {bundles}. A promotion of one that was cut off leaves it so, and is finished by "
    "repeating it; if none was, the ledger lost lines: `loupe reject` the bundle again"
)


def check_promotions(home: Home, store: ResultStore, line: str) -> None:
    """Hold the live file and the refusals in the results store against the ledger of promotions.

    A chain alone cannot tell that its end or the whole file is gone. Raises LedgerError that says
    what differs, or that the ledger is altered.
    """
    path, live = home.promotions(line), home.live(line)
    switches = read_history(home, line)
    problems = []
    if live.exists() and not switches:
        problems.append(f"{path}: {_NO_LEDGER}")
    elif live.exists() and not is_live(home, switches[-1]):
        last = switches[-1]
        said = _NOT_LIVE.format(step=last.step, number=last.number, bundle=last.bundle)
        problems.append(f"{live}: {said}")
    lost = [
        run["bundle"]
        for run in store.find("runs", {"line": line})
        if run["decision"] in ("rejected", "rolled_back") and not refused(home, line, run["bundle"])
    ]
    if lost:
        problems.append(f"{path}: {_LOST.format(bundles=some_of(lost))}")
    if problems:
        raise LedgerError("\n".join(problems))
