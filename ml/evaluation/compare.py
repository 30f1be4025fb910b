"""Challenger against champion: the same test images, differences by paired group resampling."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ml.bundle import Bundle
from ml.data.dataset import Dataset, load_dataset
from ml.errors import DataError
from ml.evaluation import metrics
from ml.evaluation.intervals import MIN_GROUPS, bootstrap_weights, count_groups
from ml.evaluation.prevalence import at_prevalence
from ml.evaluation.scores import Flags, Numbers, TestScores, score
from ml.inference.engine import open_models
from ml.inference.verdict import decide
from ml.settings import Env, Home, LineConfig
from ml.settings.line import CostsConfig

_LOW, _HIGH = 2.5, 97.5


@dataclass(frozen=True)
class _Outcome:
    p_defect: Numbers
    cost: Numbers


@dataclass(frozen=True)
class Difference:
    """Challenger less champion with its 95 % interval; None with too few groups for one."""

    value: float
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        if self.interval is None:
            return f"difference {self.value:+.4f}, too few groups for an interval"
        low, high = self.interval
        return f"difference {self.value:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"


def against_champion(
    env: Env,
    home: Home,
    line: LineConfig,
    challenger: Bundle,
    champion: Bundle,
    scores: TestScores,
) -> Iterator[tuple[bool, str]]:
    """Whether AUROC and cost an image let the challenger through, with a sentence each.

    `scores` are the challenger's. Compared are the images of its test split, without the groups
    that the champion was trained or tuned on, where that is known. AUROC may drop by the line's
    `max_auroc_drop`; the cost must not be higher beyond doubt. With fewer groups of either kind
    than `min_groups` that says nothing, and a person decides. Each reads 16-bit images by its own
    bits; raises ImageError where the champion cannot.
    """
    fair, notes = unseen_by(home, line, champion, scores)
    yield from ((True, note) for note in notes)
    ours = scores.among(fair)
    yield _enough(line, ours)
    read = tuple(replace(sample, bits=champion.card.bits) for sample in ours.samples)
    theirs = score(TestScores, home, open_models(champion, env.threads), read, env.threads)
    new = _outcome(challenger, ours, line.costs)
    old = _outcome(champion, theirs, line.costs)
    weights = bootstrap_weights(ours.groups, line.seed)
    yield _auroc(line, new, old, ours, weights)
    yield _cost(line, new, old, ours, weights)


def paired(ours: Numbers, theirs: Numbers, *, enough: bool) -> Difference:
    """The difference of a figure from its `[1 + resamples]` values under the same weights."""
    difference = ours - theirs
    seen = difference[1:][~np.isnan(difference[1:])]
    if not enough or not len(seen):
        return Difference(float(difference[0]), None)
    low, high = np.percentile(seen, [_LOW, _HIGH])
    return Difference(float(difference[0]), (float(low), float(high)))


def _enough(line: LineConfig, ours: TestScores) -> tuple[bool, str]:
    defect, least = ours.is_defect, line.gate.min_groups
    bad, good = (count_groups(ours.groups, kind) for kind in (defect, ~defect))
    if min(bad, good) >= least:
        return True, ""
    said = f"compared with the champion on {bad} groups with defects and {good} good ones"
    return False, f"{said}, below `gate.min_groups`, {least}; a person must promote it"


def _auroc(
    line: LineConfig, new: _Outcome, old: _Outcome, ours: TestScores, weights: Numbers
) -> tuple[bool, str]:
    defect = ours.is_defect
    values = [metrics.auroc(one.p_defect, defect, weights) for one in (new, old)]
    groups = [count_groups(ours.groups, kind) for kind in (defect, ~defect)]
    difference = paired(values[0], values[1], enough=min(groups) >= MIN_GROUPS)
    said = (
        f"AUROC {values[0][0]:.4f} against the champion's {values[1][0]:.4f} on {len(defect)} "
        f"images ({difference})"
    )
    if not difference.value >= -line.gate.max_auroc_drop:
        return False, f"{said}: a drop of more than {line.gate.max_auroc_drop:g}"
    return True, said


def _cost(
    line: LineConfig, new: _Outcome, old: _Outcome, ours: TestScores, weights: Numbers
) -> tuple[bool, str]:
    defect, everything = ours.is_defect, np.ones(len(new.cost), bool)
    prevalence = line.costs.prevalence
    weights = at_prevalence(weights, defect, prevalence)
    values = [metrics.mean(one.cost, everything, weights) for one in (new, old)]
    kinds = (everything,) if prevalence is None else (defect, ~defect)
    enough = min(count_groups(ours.groups, kind) for kind in kinds) >= MIN_GROUPS
    difference = paired(values[0], values[1], enough=enough)
    said = f"cost an image {values[0][0]:.3f} against {values[1][0]:.3f} ({difference})"
    if difference.interval is not None and difference.interval[0] > 0:
        return False, f"{said}: higher beyond doubt"
    return True, said


def unseen_by(
    home: Home, line: LineConfig, champion: Bundle, scores: TestScores
) -> tuple[Flags, list[str]]:
    """Which test images the champion has not seen, and what must be said about it."""
    everything = np.ones(len(scores.samples), bool)
    try:
        past = load_dataset(home, line.name, champion.card.dataset)
    except DataError:
        note = "the champion's dataset is not here: it may have seen some of these parts"
        return everything, [note]
    seen = _seen_groups(past, scores)
    fair = np.array([group not in seen for group in scores.groups], bool)
    if len(set(scores.is_defect[fair])) < 2:
        return everything, [f"the champion has seen {len(seen)} of these groups, which favours it"]
    note = f"{len(seen)} test groups left out: the champion has seen them"
    return fair, [note] * bool(seen)


def _seen_groups(past: Dataset, scores: TestScores) -> set[str]:
    """Test groups of which the champion knows the name or an image: joined groups are renamed."""
    known = [sample for sample in past.samples if sample.split != "test"]
    groups, images = {one.group for one in known}, {one.sha256 for one in known}
    return {one.group for one in scores.samples if one.group in groups or one.sha256 in images}


def _outcome(bundle: Bundle, scores: TestScores, costs: CostsConfig) -> _Outcome:
    rows = [
        decide(bundle.card, {name: float(raw[index]) for name, raw in scores.raw.items()})
        for index in range(len(scores.samples))
    ]
    wrong = {
        ("pass", True): costs.escape,
        ("fail", False): costs.overkill,
        ("pass", False): 0.0,
        ("fail", True): 0.0,
    }
    cost = [
        wrong.get((row.verdict, sample.is_defect), costs.review)
        for row, sample in zip(rows, scores.samples, strict=True)
    ]
    # A part without a probability is held, so it ranks as a defect.
    p_defect = [1.0 if row.p_defect is None else row.p_defect for row in rows]
    return _Outcome(np.array(p_defect), np.array(cost))
