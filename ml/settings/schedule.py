"""Cron expressions, checked when the line file is read and not when Airflow parses its DAG."""

import re
from typing import Annotated

from pydantic import AfterValidator

_PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Name, first and last number, and the words that stand for numbers.
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_ITEM = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[1-9]\d*))?", re.ASCII)


def _check(text: str) -> str:
    if text in _PRESETS:
        return text
    fields = text.split()
    if len(fields) != len(_FIELDS):
        msg = (
            "expected a cron expression of five fields (minute, hour, day of month, month, "
            f"day of week), such as `30 22 * * 1-5`, or one of {', '.join(_PRESETS)}"
        )
        raise ValueError(msg)
    for field, (name, low, high, words) in zip(fields, _FIELDS, strict=True):
        if not all(_is_item(item, low, high, words) for item in field.split(",")):
            also = f" or {words[0]}-{words[-1]}" if words else ""
            msg = f"{name} {field!r}: expected *, {low}-{high}{also}, ranges, lists and /steps"
            raise ValueError(msg)
    return text


def _is_item(item: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    match = _ITEM.fullmatch(item.lower())
    if match is None:
        return False
    ends = [end for end in (match["first"], match["last"]) if end]
    return all(end in words or (end.isdigit() and low <= int(end) <= high) for end in ends)


Schedule = Annotated[str, AfterValidator(_check)]
