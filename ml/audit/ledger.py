"""A ledger file: one JSON object a line, each holding the hash of the line before it.

Changing, removing or re-ordering a line breaks the chain from there on (Haber and Stornetta,
J. Cryptology 1991). A signature over the chain's head comes with a later version.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml.errors import LedgerError

FIRST = "0" * 64

_HALF = (
    "the last line is half written, as a step that is killed leaves it; that step, run again, "
    "writes it anew. If none was killed, the line was altered"
)
ADVICE = "keep the file as evidence under another name and run the step again: a new ledger begins"


def append(path: Path, entry: dict[str, Any]) -> bool:
    """Append an entry unless one with its `key` stands already; True when it was written."""
    return extend(path, [entry]) == 1


def extend(path: Path, entries: Iterable[dict[str, Any]], within: str | None = None) -> int:
    """Append those entries whose `key` does not stand already, and say how many they were.

    With `within`, the name of a field, only the last entry with the same value there counts: what
    changes and changes back is recorded each time. Safe with many processes. A half-written last
    line, left by a crash, is cut off first. Raises LedgerError when a line before it was altered.
    """

    def rivals(entry: dict[str, Any]) -> Any:
        return entry["key"] if within is None else entry.get(within)

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = _whole_lines(path, file)
        last = {rivals(line["entry"]): line["entry"]["key"] for line in lines}
        previous = lines[-1]["hash"] if lines else FIRST
        new = []
        for entry in entries:
            if last.get(rivals(entry)) == entry["key"]:
                continue
            last[rivals(entry)] = entry["key"]
            line = {"previous": previous, "entry": entry, "hash": digest(previous, entry)}
            previous = line["hash"]
            new.append(json.dumps(line, sort_keys=True).encode() + b"\n")
        file.write(b"".join(new))
        file.flush()
        os.fsync(file.fileno())
    return len(new)


def verify(path: Path) -> int:
    """How many entries stand; LedgerError names the first line that does not fit the chain.

    Nor does a half-written last line fit, which the next `extend` mends: it may as well be what
    somebody left of the line, so the message says both.
    """
    return len(_chained(path, path.read_bytes()))


def entries(path: Path) -> list[dict[str, Any]]:
    """The entries of a ledger, oldest first; none where there is no file.

    A half-written last line, left by a crash, is no entry. Raises LedgerError as `verify` does.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    return [line["entry"] for line in _chained(path, content[: content.rfind(b"\n") + 1])]


def digest(previous: str, entry: dict[str, Any]) -> str:
    """SHA-256 over the hash of the line before and this entry as canonical JSON."""
    canonical = json.dumps([previous, entry], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _chained(path: Path, content: bytes) -> list[dict[str, Any]]:
    previous = FIRST
    found = []
    for number, text in enumerate(content.splitlines(keepends=True), 1):
        try:
            line = json.loads(text)
            fits = line["previous"] == previous and line["hash"] == digest(previous, line["entry"])
        except (ValueError, KeyError, TypeError):
            fits = False
        if not fits:
            msg = f"{path}, line {number}: altered, removed or out of order since it was written"
            raise LedgerError(f"{path}, line {number}: {_HALF}" if text[-1:] != b"\n" else msg)
        previous = line["hash"]
        found.append(line)
    return found


def _whole_lines(path: Path, file: Any) -> list[dict[str, Any]]:
    file.seek(0)
    content = file.read()
    end = content.rfind(b"\n") + 1
    try:
        lines = _chained(path, content[:end])
    except LedgerError as error:
        raise LedgerError(f"{error}; {ADVICE}") from error
    if end < len(content):
        file.truncate(end)
    return lines
