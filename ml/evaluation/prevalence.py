"""Another share of defects than that of the images at hand.

Plants keep what fails, so a dataset holds far more defects than the line makes, and a probability
fitted on it holds good parts for review. Where the line's file says how many parts are defective,
the odds move by the ratio of the two priors (Saerens, Latinne and Decaestecker, Neural Computation
14, 2002), which takes for granted that defects look as those at hand, and good parts, too.
"""

from math import log

import numpy as np

from ml.evaluation import metrics
from ml.evaluation.scores import Flags, Numbers


def log_odds_shift(share: float, prevalence: float) -> float:
    """What to add to log-odds fitted where `share` is defective, so that `prevalence` holds."""
    return _log_odds(prevalence) - _log_odds(share)


def at_prevalence(weights: Numbers, defect: Flags, prevalence: float | None) -> Numbers:
    """`weights` `[R, N]` with the defective images scaled to `prevalence` of each row's sum.

    Rates among defects, or among good images, stay what they are. A row of one kind says nothing
    of the line and is not a number; without a prevalence the weights stay.
    """
    if prevalence is None:
        return weights
    defective, good = weights[:, defect].sum(axis=1), weights[:, ~defect].sum(axis=1)
    wanted = prevalence / (1 - prevalence)
    scale = wanted * metrics.ratio(good, defective)
    scale[good == 0] = np.nan
    scaled = np.where(defect, weights * scale[:, None], weights)
    scaled[np.isnan(scale)] = np.nan
    return scaled


def _log_odds(p: float) -> float:
    return log(p / (1 - p))
