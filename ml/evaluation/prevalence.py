"""Another share of defects than that of the images at hand.

Plants keep what fails, so a dataset holds far more defects than the line makes, and a probability
fitted on it holds good parts for review. Where the line's file says how many parts are defective,
the odds move by the ratio of the two priors (Saerens, Latinne and Decaestecker, Neural Computation
14, 2002), which takes for granted that defects look as those at hand, and good parts, too.
"""

from math import log

import numpy as np

from ml.evaluation.scores import Flags, Numbers


def log_odds_shift(share: float, prevalence: float) -> float:
    """What to add to log-odds fitted where `share` is defective, so that `prevalence` holds."""
    return _log_odds(prevalence) - _log_odds(share)


def at_prevalence(weights: Numbers, defect: Flags, prevalence: float | None) -> Numbers:
    """`weights` `[R, N]` with the defective images scaled to `prevalence` of each row's sum.

    Rates among defects, or among good images, stay what they are. Without a prevalence, and in a
    row of one kind, so do the weights.
    """
    if prevalence is None:
        return weights
    defective, good = weights[:, defect].sum(axis=1), weights[:, ~defect].sum(axis=1)
    both = (defective > 0) & (good > 0)
    wanted = prevalence / (1 - prevalence)
    scale = np.where(both, wanted * good / np.where(both, defective, 1.0), 1.0)
    return np.where(defect, weights * scale[:, None], weights)


def _log_odds(p: float) -> float:
    return log(p / (1 - p))
