"""Every test of a night: the night's groups against the reference's, on plain columns."""

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

Rows = list[dict[str, Any]]
# One row per group: `[G]` by name of measure, `log_odds` and `flagged`; `embedding` is `[G, K]`.
Columns = dict[str, Numbers]


def columns(rows: Rows, pass_below: float) -> Columns:
    """Means over the groups of `rows`; `flagged` is the share of images above `pass_below`."""
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
