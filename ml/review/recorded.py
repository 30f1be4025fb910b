"""Are the reviews of the results store those that the ledgers recorded?"""

from ml.audit import reviews
from ml.data.layout import some_of
from ml.errors import LedgerError
from ml.results import ResultStore
from ml.settings import Home

_ALTERED = (
    "not as it was recorded: {names}. The document was altered, the ledger lost lines, or an API "
    "on another host took a later one; who gave it should give it again, to an API on this host"
)
_UNFINISHED = (
    "recorded, but the results store has no such document, or an earlier one: {names}. An API that "
    "is killed leaves it so, and `loupe review --line {line}` writes it; if none was, somebody "
    "removed it"
)
_UNRECORDED = (
    "in the results store, but never recorded here: {names}. An API on another host or an older "
    "Loupe wrote it, and `loupe review --line {line}` records it as found; else somebody made it up"
)


def check_reviews(home: Home, store: ResultStore, line: str) -> int:
    """Hold the reviews of a line against their ledgers; how many were found, not recorded as given.

    Raises LedgerError that names those that differ, or the ledger that is altered.
    """
    folder = home.ledgers(line)
    # Reviews come in meanwhile, each to the ledger first: the store must have what was recorded
    # before it was read, and the ledger, after that, what is stored.
    before = reviews.read(folder)
    stored = {one.pop("id"): one for one in store.find("reviews", {"line": line})}
    entries = reviews.read(folder)
    differ = reviews.compare(entries, stored)
    named = {
        _ALTERED: differ.altered,
        _UNFINISHED: [*reviews.compare(before, stored).unfinished],
        _UNRECORDED: [*differ.unrecorded],
    }
    problems = [
        f"{folder}: reviews, {text.format(names=some_of(names), line=line)}"
        for text, names in named.items()
        if names
    ]
    if problems:
        raise LedgerError("\n".join(problems))
    steps = {entry["id"]: entry["step"] for entry in entries}
    return list(steps.values()).count("found")
