"""Every test of a night: the night's groups against the reference's, on plain columns."""

from collections import Counter
from math import ceil
from typing import Any

import numpy as np

from ml.data.measure import MEASURES
from ml.monitoring.statistics import (
    Numbers,
    Test,
    by_group,
    distribution_test,
    embedding_test,
    share_test,
)

KINDS = ("image", "embedding", "model")
# The measures, the embedding, the log-odds and the share not passed.
TESTS = len(MEASURES) + 3

_SEED = 20261121

Rows = list[dict[str, Any]]
# One row per group: `[G]` by name of measure, `log_odds` and `flagged`; `embedding` is `[G, K]`.
Columns = dict[str, Numbers]


def both_sides(reference: Rows, current: Rows, pass_below: float) -> tuple[Columns, Columns]:
    """Means over the groups of each side; `flagged` is the share of images above `pass_below`.

    The mean of fewer images scatters more, which must not count as drift. So the groups of both
    sides are set side by side in order of size, and each keeps as many images as the smaller. The
    reference of an earlier Loupe does not name the cameras, without which that would do more harm.
    """
    if "camera" not in reference[0]:
        return _columns(reference, pass_below), _columns(current, pass_below)
    random = np.random.default_rng(_SEED)
    first = _no_larger(reference, _sizes(current), random)
    second = _no_larger(current, _sizes(reference), random)
    return _columns(first, pass_below), _columns(second, pass_below)


def _sizes(rows: Rows) -> list[int]:
    return sorted(Counter(row["group"] for row in rows).values())


def _no_larger(rows: Rows, sizes: list[int], random: np.random.Generator) -> Rows:
    """The rows, of each group at most as many as the one beside it in a side of these `sizes`."""
    groups: dict[str, Rows] = {}
    for at in random.permutation(len(rows)):
        groups.setdefault(rows[at]["group"], []).append(rows[at])
    kept = []
    for rank, group in enumerate(sorted(groups.values(), key=len)):
        beside = sizes[(2 * rank + 1) * len(sizes) // (2 * len(groups))]
        kept += _thinned(group, min(len(group), beside), random)
    return kept


def _thinned(group: Rows, number: int, random: np.random.Generator) -> Rows:
    """So many rows of a shuffled group, in which its cameras keep their shares.

    Else its mean would hang on which cameras are left.
    """
    by_camera = sorted(group, key=lambda row: str(row["camera"]))
    start = int(random.integers(len(group)))
    return [by_camera[(start + turn * len(group)) // number] for turn in range(number)]


def _columns(rows: Rows, pass_below: float) -> Columns:
    groups = [row["group"] for row in rows]
    p_defect = np.array([row["p_defect"] for row in rows], float)
    odds = np.clip(p_defect, 1e-9, 1 - 1e-9)
    values = {name: np.array([row[name] for row in rows], float) for name in MEASURES}
    values["embedding"] = np.array([row["embedding"] for row in rows], float)
    values["log_odds"] = np.log(odds / (1 - odds))
    values["flagged"] = (p_defect > pass_below).astype(float)
    return {name: by_group(groups, column) for name, column in values.items()}


def has_embeddings(side: Columns) -> bool:
    """Whether the models that scored it give embeddings: a segmenter alone gives none."""
    return side["embedding"].size > 0


def compare(reference: Columns, current: Columns, alpha: float) -> dict[str, list[Test]]:
    """The tests of a night by kind; none of embeddings where the models give none.

    There are so many permutations that drift of the embeddings alone can pass the first level of
    Holm, alpha / TESTS, with one permutation to spare.
    """
    permutations = ceil(2 * TESTS / alpha)
    embeddings = reference["embedding"], current["embedding"]
    odds = reference["log_odds"], current["log_odds"]
    flagged = reference["flagged"] >= 0.5, current["flagged"] >= 0.5
    return {
        "image": [distribution_test(name, reference[name], current[name]) for name in MEASURES],
        "embedding": [embedding_test("embedding", *embeddings, permutations)]
        if has_embeddings(reference)
        else [],
        "model": [
            distribution_test("defect log-odds", *odds),
            share_test("share not passed", *flagged),
        ],
    }
