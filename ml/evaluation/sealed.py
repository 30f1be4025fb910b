"""Are a bundle's sealed models the ones that its figures were computed from?"""

import numpy as np
import pyarrow.parquet as pq

from ml.bundle import Bundle
from ml.evaluation.scores import Scores


def largest_difference(bundle: Bundle, scores: Scores) -> tuple[float, int]:
    """Largest difference of a raw score from the bundle's drift reference, and on how many images.

    The reference holds the scores of the evaluation; `scores` are the sealed models' own. Infinite
    where a score is not a number or a model has none; 0 images where the two share none.
    """
    rows = {row["sha256"]: row for row in pq.read_table(bundle.reference).to_pylist()}
    shared = [
        (index, rows[sample.sha256])
        for index, sample in enumerate(scores.samples)
        if sample.sha256 in rows
    ]
    worst = 0.0
    for index, row in shared:
        for name in bundle.card.models:
            measured = row.get(f"score_{name}")
            difference = np.inf if measured is None else abs(scores.raw[name][index] - measured)
            worst = max(worst, float(np.nan_to_num(difference, nan=np.inf)))
    return worst, len(shared)
