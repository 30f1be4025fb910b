"""Are the images that were left out by a person those that the ledger recorded?"""

from typing import Any

from ml.audit import ledger
from ml.data import catalog
from ml.data.decide import DROPPED, SUPERSEDED, row_key
from ml.data.layout import some_of
from ml.errors import LedgerError
from ml.settings import Home

_LOST = (
    "it does not say who dropped these images, though the catalog has them as dropped: {names}. "
    "The ledger lost lines, or was put aside, or the catalog was altered. Where you know why, "
    "`loupe quarantine drop --unrecorded` says who answers for them"
)


def check_drops(home: Home, line: str) -> None:
    """Hold the dropped images of the catalog against the ledger `quarantine`.

    A chain alone cannot tell that its end or the whole file is gone. Raises LedgerError that names
    the images of which it does not say who dropped them and why, or that it is altered.
    """
    lost = [row["object"] for row in unrecorded_drops(home, line)]
    if lost:
        raise LedgerError(f"{home.ledger(line, 'quarantine')}: {_LOST.format(names=some_of(lost))}")


def unrecorded_drops(home: Home, line: str) -> list[dict[str, Any]]:
    """The rows of dropped images of which the ledger does not say who dropped them.

    Raises LedgerError when it is altered.
    """
    rows = catalog.read_images(home, line, status=["dropped", "replaced"])
    try:
        entries = ledger.entries(home.ledger(line, "quarantine"))
    except LedgerError as error:
        raise LedgerError(f"{error}; {ledger.ADVICE}") from error
    named = {row_key(image) for entry in entries for image in entry["images"]}
    return [
        row
        for row in rows.to_pylist()
        if row["reason"] not in SUPERSEDED
        and (row["status"] == "dropped" or row["reason"] == DROPPED)
        and row_key(row) not in named
    ]
