"""Days as Loupe writes them: `YYYY-MM-DD` text, so that their order is the order of time."""

from datetime import date

from ml.errors import DataError


def check_day(day: str) -> str:
    """`day` itself; raises DataError when it is not a day written `YYYY-MM-DD`."""
    try:
        # `20260105` and `2026-W02-1` are ISO days too, but equal no day of the catalog.
        written = date.fromisoformat(day).isoformat()
    except ValueError:
        written = ""
    if written != day:
        msg = f"day {day!r}: expected YYYY-MM-DD"
        raise DataError(msg)
    return day
