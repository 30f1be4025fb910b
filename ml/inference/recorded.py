"""Are the predictions of a published night those that the ledger recorded of it?"""

from ml.audit import ledger
from ml.errors import LedgerError
from ml.inference.publish import RECORDED_EARLIER, by_shard, digest_of
from ml.results import Document, ResultStore
from ml.settings import Home

_NO_NIGHT = (
    "the results store has no such night: its first publish is under way or was cut off, or "
    "somebody removed it"
)
_ADVICE = (
    "publish a day that was inspected again since then, or not published to its end; of any other, "
    "the predictions were altered or lost, or the ledger lost lines"
)


def check_recorded(
    home: Home, store: ResultStore, line: str, day: str | None = None, since: str = ""
) -> None:
    """Hold the predictions of all published nights, or of one `day`, against their ledgers.

    With `since`, a day, those of earlier nights are not read.
    A chain alone cannot tell that its end or the whole file is gone, or that the table changed; nor
    can the store tell that it lost a night, which its ledger can. Raises LedgerError that names the
    days and shards that differ, or the ledger that is altered.
    """
    where = {"line": line} if day is None else {"line": line, "day": day}
    # Listed before the nights, which a publish writes last. Other ledgers have names without days.
    recorded = sorted(home.ledgers(line).glob(f"{day or '[0-9]*'}.jsonl"))
    nights = store.find("nights", where, since=f"{line}__{since}")
    problems = [problem for night in nights if (problem := _difference(home, line, night))]
    known = {night["day"] for night in nights}
    problems += [
        f"{path}: {_NO_NIGHT}"
        for path in recorded
        if path.stem[0].isdigit() and path.stem >= since and path.stem not in known
    ]
    if problems:
        raise LedgerError("\n".join([*problems, _ADVICE]))


def _difference(home: Home, line: str, night: Document) -> str:
    path = home.ledger(line, night["day"])
    if not path.exists():
        return f"{path}: not there, though the night was published"
    # The last entry of a shard counts; one that a shorter plan dropped has no predictions.
    recorded = {entry.get("shard"): entry.get("digest") for entry in ledger.entries(path)}
    images, other = 0, []
    for number, rows in by_shard(home, line, night["day"]):
        images += len(rows)
        known = (digest_of(rows), digest_of(rows, RECORDED_EARLIER))
        if recorded.get(number) not in known:
            other.append(str(number))
    if other:
        return f"{path}: not what the predictions say, of shards {', '.join(other)}"
    if images != night["images"]:
        return f"{path}: the night was published with {night['images']} images, and has {images}"
    return ""
