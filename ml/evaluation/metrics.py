"""Rank and threshold metrics on plain arrays. NaN means: not defined on these samples."""

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def auroc(scores: Numbers, is_defect: Flags) -> float:
    """Area under the ROC curve by the Mann-Whitney statistic; ties count one half."""
    positives = int(is_defect.sum())
    negatives = len(is_defect) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    above = ranks[is_defect].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def average_precision(scores: Numbers, is_defect: Flags) -> float:
    """Mean precision over the recall steps, ties taken together."""
    positives = int(is_defect.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(is_defect[order])
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    hits, seen = hits[last_of_tie], np.flatnonzero(last_of_tie) + 1
    gained = np.diff(hits, prepend=0)
    return float((gained / positives * (hits / seen)).sum())


def f_score(flagged: Flags, is_defect: Flags, beta: float) -> float:
    """F-beta (van Rijsbergen, 1979) of flagged against defective images."""
    hits = float((flagged & is_defect).sum())
    missed = float((~flagged & is_defect).sum())
    false = float((flagged & ~is_defect).sum())
    if hits + missed == 0:
        return float("nan")
    return (1 + beta**2) * hits / ((1 + beta**2) * hits + beta**2 * missed + false)


def share(flags: Flags, among: Flags) -> float:
    """Share of `flags` among `among`; NaN among none."""
    return float(flags[among].mean()) if among.any() else float("nan")


def dice(predicted: Flags, truth: Flags) -> float:
    """Overlap 2 |A and B| / (|A| + |B|); NaN when both are empty."""
    total = int(predicted.sum()) + int(truth.sum())
    return 2 * float((predicted & truth).sum()) / total if total else float("nan")


def mean_of_known(values: Numbers) -> float:
    """Mean over the values that are not NaN."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
