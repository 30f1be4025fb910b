"""What a challenger would have said of a night, beside what the champion said."""

from collections import Counter
from dataclasses import dataclass

from ml.data import predicted
from ml.data.day import check_day
from ml.errors import DataError
from ml.settings import Home

# Parts that are named; the tables have all of them.
_NAMED = 50


@dataclass(frozen=True)
class Comparison:
    """Champion and shadow on the images that both inspected.

    `verdicts` counts images by champion's and shadow's verdict, such as `pass, review`; `differ`
    names objects on which they disagree, those that only the shadow would pass first.
    """

    bundle: str
    shadow: str
    images: int
    agree: int
    verdicts: dict[str, int]
    differ: list[dict[str, str]]


def compare_shadow(home: Home, line: str, day: str) -> Comparison:
    """Compare the shadow's rows of a day with the predictions; DataError when there are none."""
    champion, shadow = (
        {
            (row["object"], row["sha256"]): row
            for row in predicted.read(home, line, day=check_day(day), embeddings=False, name=name)
            .select(["object", "sha256", "verdict", "reason", "bundle"])
            .to_pylist()
            if not predicted.is_held_unread(row)
        }
        for name in ("predictions", "shadow")
    )
    both = [(champion[key], shadow[key]) for key in sorted(champion.keys() & shadow.keys())]
    if not both:
        msg = f"{line}, {day}: nothing was scored beside the champion; "
        raise DataError(msg + "plan the night with `loupe shards --shadow <bundle>`")
    pairs = Counter((one["verdict"], other["verdict"]) for one, other in both)
    differ = [
        {"object": one["object"], "champion": one["verdict"], "shadow": other["verdict"]}
        for one, other in both
        if one["verdict"] != other["verdict"]
    ]
    differ.sort(key=lambda one: (one["shadow"] != "pass", one["object"]))
    return Comparison(
        ", ".join(sorted({one["bundle"] for one, _ in both})),
        ", ".join(sorted({other["bundle"] for _, other in both})),
        len(both),
        len(both) - len(differ),
        {f"{one}, {other}": count for (one, other), count in sorted(pairs.items())},
        differ[:_NAMED],
    )
