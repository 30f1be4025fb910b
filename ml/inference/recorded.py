"""Are the predictions of a published night those that the ledger recorded of it?"""

from ml.audit import ledger
from ml.errors import LedgerError
from ml.inference.publish import by_shard, digest_of
from ml.results import ResultStore
from ml.settings import Home

_ADVICE = (
    "publish a day that was inspected again since then; of any other, the predictions were altered "
    "or the ledger lost lines"
)


def check_recorded(home: Home, store: ResultStore, line: str, day: str | None = None) -> None:
    """Hold the predictions of all published nights, or of one `day`, against their ledgers.

    A chain alone cannot tell that its end or the whole file is gone, or that the table changed.
    Raises LedgerError that names the days and shards that differ, or the ledger that is altered.
    """
    where = {"line": line} if day is None else {"line": line, "day": day}
    days = [night["day"] for night in store.find("nights", where)]
    problems = [problem for one in days if (problem := _difference(home, line, one))]
    if problems:
        raise LedgerError("\n".join([*problems, _ADVICE]))


def _difference(home: Home, line: str, day: str) -> str:
    path = home.ledger(line, day)
    if not path.exists():
        return f"{path}: not there, though the night was published"
    # The last entry of a shard counts; one that a shorter plan dropped has no predictions.
    recorded = {entry.get("shard"): entry.get("digest") for entry in ledger.entries(path)}
    other = [
        str(number)
        for number, rows in by_shard(home, line, day)
        if recorded.get(number) != digest_of(rows)
    ]
    return f"{path}: not what the predictions say, of shards {', '.join(other)}" if other else ""
