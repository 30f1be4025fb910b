"""Are the images that were left out by a person those that the ledger recorded?"""

from ml.audit import ledger
from ml.data import catalog
from ml.data.decide import DROPPED, SUPERSEDED, row_key
from ml.data.layout import some_of
from ml.errors import LedgerError
from ml.settings import Home

_LOST = (
    "it does not say who dropped these images, though the catalog has them as dropped: {names}. "
    "The ledger lost lines, or the catalog was altered"
)


def check_drops(home: Home, line: str) -> None:
    """Hold the dropped images of the catalog against the ledger `quarantine`.

    A chain alone cannot tell that its end or the whole file is gone. Raises LedgerError that names
    the images of which it does not say who dropped them and why, or that it is altered.
    """
    path = home.ledger(line, "quarantine")
    columns = ["object", "version", "status", "reason"]
    rows = catalog.read_images(home, line, status=["dropped", "replaced"], columns=columns)
    named = {row_key(image) for entry in ledger.entries(path) for image in entry["images"]}
    lost = [
        row["object"]
        for row in rows.to_pylist()
        if row["reason"] not in SUPERSEDED
        and (row["status"] == "dropped" or row["reason"] == DROPPED)
        and row_key(row) not in named
    ]
    if lost:
        raise LedgerError(f"{path}: {_LOST.format(names=some_of(lost))}")
