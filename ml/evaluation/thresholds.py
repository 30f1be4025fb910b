"""Where a part passes, is reviewed, fails: from the line's costs, or a ceiling on escapes."""

from collections.abc import Sequence
from math import ceil, floor, log, log1p, log10

import numpy as np

from ml.bundle.card import EscapeCeiling, Metric, Thresholds
from ml.data.dataset import Sample
from ml.errors import DataError
from ml.evaluation import metrics
from ml.evaluation.intervals import (
    MIN_GROUPS,
    bootstrap_weights,
    count_groups,
    exact_interval,
    rate_metric,
    upper_bound,
)
from ml.evaluation.prevalence import at_prevalence
from ml.evaluation.scores import Flags, Numbers, Scores, ValidationScores
from ml.settings.line import CostsConfig

CONFIDENCE = 0.95
MILLION = 1e6
# The metric that a ceiling on escapes is held against on test.
ESCAPED_GROUPS = "fused.escaped_groups"

_DIGITS = 6


def chow(costs: CostsConfig) -> Thresholds:
    """Reject option of Chow (IEEE Trans. Inf. Theory 1970): review where it is the cheapest.

    Where review is never the cheapest, both thresholds are the point of equal cost.
    """
    pass_below = costs.review / costs.escape
    fail_above = 1 - costs.review / costs.overkill
    if pass_below >= fail_above:
        pass_below = fail_above = costs.overkill / (costs.overkill + costs.escape)
    return Thresholds(
        pass_below=pass_below,
        fail_above=fail_above,
        escape_cost=costs.escape,
        overkill_cost=costs.overkill,
        review_cost=costs.review,
        prevalence=costs.prevalence,
    )


def under_ceiling(
    thresholds: Thresholds, max_escape_ppm: float, validation: ValidationScores, p_defect: Numbers
) -> Thresholds:
    """The highest `pass_below` whose escape rate is at most the ceiling, with 95 % confidence.

    The units are the groups with a defect: one escapes when any of its defective images passes, so
    only its lowest `p_defect` (of `[N]`) counts. The number of escapes that the exact upper bound
    (Clopper and Pearson, 1934) allows hangs on the number of groups alone, not on their scores, so
    looking for the threshold costs no confidence: it is a tolerance limit (Wilks, 1941). That
    holds if no `p_defect` comes from a fit to its own group: see `calibrate.held_out`.
    `thresholds` are those from the costs. `fail_above` follows from overkill and review as ever,
    and `pass_below` is not above it: what is cheaper to fail does not pass, ceiling or not.
    Raises DataError when validation has too few defective groups for the claim.
    """
    defect = validation.is_defect
    lowest = _lowest_by_group(validation.groups, p_defect, defect)
    allowed = allowed_escapes(len(lowest), max_escape_ppm)
    fail_above = 1 - thresholds.review_cost / thresholds.overkill_cost
    pass_below = min(_just_below(lowest[allowed]), fail_above)
    escapes = int((lowest <= pass_below).sum())
    return thresholds.model_copy(
        update={
            "pass_below": pass_below,
            "fail_above": fail_above,
            "ceiling": EscapeCeiling(
                max_escape_ppm=max_escape_ppm,
                confidence=CONFIDENCE,
                groups=len(lowest),
                escapes=escapes,
                bound_ppm=round(upper_bound(escapes, len(lowest), CONFIDENCE) * MILLION),
            ),
        }
    )


def require_groups(samples: Sequence[Sample], costs: CostsConfig) -> None:
    """Raise DataError when a ceiling asks for more defective groups than these samples have."""
    if costs.max_escape_ppm is not None:
        groups = len({sample.group for sample in samples if sample.is_defect})
        allowed_escapes(groups, costs.max_escape_ppm)


def allowed_escapes(groups: int, max_escape_ppm: float) -> int:
    """How many of `groups` may escape with the upper bound still at or under the ceiling.

    Raises DataError when not even none is enough.
    """
    needed = groups_needed(max_escape_ppm)
    if groups < needed:
        msg = (
            f"`costs.max_escape_ppm` is {max_escape_ppm:g}: to show that with {CONFIDENCE:.0%} "
            f"confidence takes {needed} independent defective groups in validation, none of which "
            f"escapes; there are {groups}. Label more defects, raise the ceiling, or leave the key "
            "out: the thresholds then follow from the costs"
        )
        raise DataError(msg)
    allowed = 0
    while upper_bound(allowed + 1, groups, CONFIDENCE) * MILLION <= max_escape_ppm:
        allowed += 1
    return allowed


def groups_needed(max_escape_ppm: float) -> int:
    """Fewest groups that show a rate at or under the ceiling when none of them escapes.

    Exact: (1 - ceiling)^n <= 1 - confidence; the rule of three, 3 / ceiling, is its approximation.
    """
    return ceil(log(1 - CONFIDENCE) / log1p(-max_escape_ppm / MILLION))


def verdicts(p_defect: Numbers, thresholds: Thresholds) -> tuple[Flags, Flags]:
    """Which images pass and which fail; the rest is reviewed."""
    passed = p_defect <= thresholds.pass_below
    return passed, (p_defect >= thresholds.fail_above) & ~passed


def rates(
    p_defect: Numbers, thresholds: Thresholds, scores: Scores, weights: Numbers
) -> dict[str, Metric]:
    """Escape, overkill and review rate of the images of a split, with intervals.

    `weights` `[1 + resamples, N]` are those of `intervals.bootstrap_weights`, the review rate's at
    the prevalence of `thresholds`.
    """
    defect = scores.is_defect
    weights = at_prevalence(weights, defect, thresholds.prevalence)
    passed, failed = verdicts(p_defect, thresholds)
    events = {
        "escape": (passed, defect),
        "overkill": (failed, ~defect),
        "review_rate": (~passed & ~failed, np.ones(len(defect), bool)),
    }
    found = {}
    for name, (event, among) in events.items():
        n = count_groups(scores.groups, among)
        if name == "review_rate" and thresholds.prevalence is not None:
            # However few the defects are in the plant, each kind has its own rate here.
            n = min(count_groups(scores.groups, kind) for kind in (defect, ~defect))
        values = metrics.rate(event, among, weights)
        found[name] = rate_metric(values, n, enough=n >= MIN_GROUPS)
    return found


def with_rates(
    thresholds: Thresholds, validation: ValidationScores, p_defect: Numbers, seed: int
) -> Thresholds:
    """The thresholds with what they did on validation, where they were chosen.

    An interval of a threshold itself would say little: p_defect has no unit, and one from the costs
    has no sampling error. What is uncertain, and what a plant pays for, is the share of escapes,
    overkill and reviews at the threshold; so these get the interval. They are the evidence that the
    choice rests on, and a little too good; the test figures beside them are the measurement.
    """
    weights = bootstrap_weights(validation.groups, seed)
    found = rates(p_defect, thresholds, validation, weights)
    return thresholds.model_copy(update={"rates": found})


def escaped_groups(p_defect: Numbers, thresholds: Thresholds, scores: Scores) -> Metric:
    """Share of the defective groups that escape as a ceiling counts them: with any image passed.

    The interval is Clopper and Pearson's, so it needs no least number of groups.
    """
    lowest = _lowest_by_group(scores.groups, p_defect, scores.is_defect)
    n = len(lowest)
    if not n:
        return Metric(value=None, low=None, high=None, n=0)
    escapes = int((lowest <= thresholds.pass_below).sum())
    low, high = (round(end, _DIGITS) for end in exact_interval(escapes, n))
    return Metric(value=round(escapes / n, _DIGITS), low=low, high=high, n=n)


def against_ceiling(found: Metric, ceiling: EscapeCeiling) -> str:
    """The sentence about `escaped_groups` of test and the ceiling; `found` has an interval."""
    value, low, high = (
        f"{end * MILLION:,.0f}" for end in (found.value, found.low, found.high) if end is not None
    )
    return (
        f"of a million defective test groups {value} escape (95 % interval {low} to {high}, "
        f"{found.n} groups); the ceiling is {ceiling.max_escape_ppm:,g}"
    )


def _lowest_by_group(groups: Sequence[str], p_defect: Numbers, defect: Flags) -> Numbers:
    """The lowest p_defect of the defective images of each group, rising."""
    lowest: dict[str, float] = {}
    for group, p, bad in zip(groups, p_defect, defect, strict=True):
        if bad:
            lowest[group] = min(float(p), lowest.get(group, 1.0))
    return np.array(sorted(lowest.values()))


def _just_below(value: float) -> float:
    """The next lower number of few digits: what lies beyond is the processor's."""
    step = 10.0 ** (floor(log10(value)) - _DIGITS + 1)
    return float(f"{value - step:.{_DIGITS}g}")
