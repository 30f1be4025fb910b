"""The tables of RESULTS.md, each between `<!-- its name -->` and the next `<!-- end … -->`."""

import sys
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")


def put(table: str, row: str, key: int = 1) -> None:
    """Print a row, and put it in the place of the one with the same first `key` cells, or last."""
    _, old, _ = _split(RESULTS, table)
    rows = {tuple(one.split(" | ")[:key]): one for one in old.splitlines()}
    rows[tuple(row.split(" | ")[:key])] = row
    write(table, "\n".join(rows.values()))
    print(row, flush=True)


def write(table: str, text: str, path: Path | None = None) -> None:
    """Replace a whole table, of RESULTS.md unless another page is named."""
    path = path or RESULTS
    before, _, after = _split(path, table)
    path.write_text(f"{before}{text.rstrip()}\n{after}")


def _split(path: Path, table: str) -> tuple[str, str, str]:
    mark = f"<!-- {table} -->\n"
    before, found, rest = path.read_text().partition(mark)
    if not found:
        sys.exit(f"{path}: it has no table {mark.strip()}")
    old, end, after = rest.partition("<!-- end")
    return before + mark, old, end + after
