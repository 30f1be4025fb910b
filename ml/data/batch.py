"""A staged batch: the measured images of one listing, as Parquet, and when they were listed."""

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ml import files
from ml.data import catalog
from ml.data.decide import Key
from ml.errors import DataError
from ml.settings import Home

STAGED = pa.schema(
    [field for field in catalog.IMAGES if field.name not in ("status", "reason", "batch")]
    + [pa.field(name, pa.string()) for name in ("label", "defect_type", "mask", "problem")]
)


@dataclass(frozen=True, order=True)
class Moment:
    """When a source was listed; the smaller is the earlier.

    The version that the table `images` had then tells two listings apart, whatever the clock says;
    the clock decides where no batch was validated in between. A batch of an older Loupe is the
    earliest.
    """

    images_version: int = -2
    at: str = ""

    @classmethod
    def of(cls, home: Home, line: str, now: datetime) -> "Moment":
        """To be taken before the source is listed."""
        return cls(catalog.version(home, line, "images"), now.isoformat(timespec="microseconds"))


def write_batch(
    home: Home,
    line: str,
    name: str,
    rows: list[dict[str, Any]],
    moment: Moment,
    *,
    replay: bool = False,
    gone: Collection[Key] = (),
) -> None:
    """Write the rows (`STAGED`) of a batch.

    A replay has images quarantined before; `gone` are images of the catalog that it did not find
    in the source.
    """
    os.sync()  # the objects, before anything names them: once is faster than for each
    told = {b"listed": b"%d" % len(rows), b"replay": b"%d" % replay}
    told[b"gone"] = json.dumps(sorted(gone)).encode()
    _write(home, line, name, pa.Table.from_pylist(rows, schema=STAGED.with_metadata(told)), moment)


def list_again(home: Home, line: str, name: str, moment: Moment) -> None:
    """The source has these very versions again, or still: a batch gets a later moment."""
    _write(home, line, name, read_batch(home, line, name), moment)


def read_batch(home: Home, line: str, name: str) -> pa.Table:
    """The staged rows of a batch, and how many objects were listed for it as metadata `listed`.

    Raises DataError when there is no batch of that name.
    """
    path = home.staging(line, name)
    if not path.exists():
        msg = f"{path}: no such batch; run `loupe ingest --line {line}` first"
        raise DataError(msg)
    table = pq.read_table(path)
    if b"listed" not in (table.schema.metadata or {}):
        msg = (
            f"{path}: staged by an earlier version; delete it and run `loupe ingest --line {line}`"
        )
        raise DataError(msg)
    return table


def listed_before(home: Home, line: str, names: set[str], moment: Moment) -> set[str]:
    """Which of some batches were listed before a moment.

    One whose staged file is gone was, where the catalog had it then.
    """
    paths = {name: home.staging(line, name) for name in names}
    listed = {name: _moment(pq.read_schema(p)) for name, p in paths.items() if p.exists()}
    earlier = {name for name, at in listed.items() if at < moment}
    if unknown := names - listed.keys():
        earlier |= _validated_before(home, line, unknown, moment)
    return earlier


def moment_of(staged: pa.Table) -> Moment:
    """When a staged batch was listed."""
    return _moment(staged.schema)


def listed_count(staged: pa.Table) -> int:
    """How many objects were listed for a staged batch."""
    return int(staged.schema.metadata[b"listed"])


def is_replay(staged: pa.Table) -> bool:
    """Whether a staged batch has images that were quarantined before."""
    return bool(staged.schema.metadata.get(b"replay") == b"1")


def gone_from(staged: pa.Table) -> set[Key]:
    """The images of the catalog that a replay did not find in the source."""
    gone = json.loads(staged.schema.metadata.get(b"gone", b"[]"))
    return {(name, version) for name, version in gone}


def _write(home: Home, line: str, name: str, table: pa.Table, moment: Moment) -> None:
    at = {b"images_version": b"%d" % moment.images_version, b"listed_at": moment.at.encode()}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(table.schema.metadata | at), sink)
    files.write_bytes(home.staging(line, name), sink.getvalue().to_pybytes())


def _moment(schema: pa.Schema) -> Moment:
    told = schema.metadata or {}
    if b"listed_at" not in told:
        return Moment()
    return Moment(int(told[b"images_version"]), told[b"listed_at"].decode())


def _validated_before(home: Home, line: str, names: set[str], moment: Moment) -> set[str]:
    """Which batches the catalog had rows of at a moment; none where that is gone."""
    if moment.images_version < 0:
        return set()
    try:
        return catalog.batches_among(home, line, names, moment.images_version)
    except DataError:
        return set()
