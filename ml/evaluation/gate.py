"""The `gate` step: may this bundle become the champion?"""

from dataclasses import dataclass

import numpy as np

from ml.bundle import Bundle, Card, load_bundle
from ml.bundle.live import live_record
from ml.data.dataset import Sample, load_dataset
from ml.errors import BundleError, DataError
from ml.evaluation import metrics
from ml.evaluation.intervals import bootstrap_weights
from ml.evaluation.scores import Numbers, TestScores, score
from ml.inference.engine import open_models
from ml.inference.verdict import decide
from ml.settings import Env, Home, LineConfig

_FUSED = "fused.auroc"


@dataclass(frozen=True)
class Judgement:
    """Whether to promote, why, and against which champion (None: there is none)."""

    promote: bool
    reasons: tuple[str, ...]
    champion: str | None


@dataclass(frozen=True)
class _Outcome:
    p_defect: Numbers
    cost: Numbers


def judge(env: Env, home: Home, line: LineConfig, challenger: Bundle) -> Judgement:
    """Hold the challenger against the line's minimum and against the champion.

    Both score the same test images: those of the challenger's dataset, without the groups that
    the champion was trained or tuned on, where that is known.
    """
    minimum = _against_minimum(line, challenger.card)
    record = live_record(home, line.name)
    name = None if record is None else str(record["bundle"])
    if name is None:
        promoted, reason = minimum
        return Judgement(promoted, (reason, "there is no champion yet"), None)
    if name == challenger.name:
        return Judgement(
            True, ("it is the champion already",), record["previous"] if record else None
        )
    if not minimum[0]:
        return Judgement(False, (minimum[1],), name)
    try:
        champion = load_bundle(home, name)
    except BundleError as error:
        reason = f"the champion cannot be used ({type(error).__name__}); it is replaced"
        return Judgement(True, (minimum[1], reason), name)
    promoted, reasons = _against_champion(env, home, line, challenger, champion)
    return Judgement(promoted, (minimum[1], *reasons), name)


def _against_minimum(line: LineConfig, card: Card) -> tuple[bool, str]:
    metric = card.metrics.get(_FUSED)
    if metric is None or metric.value is None:
        return False, "AUROC is unknown without defects in the test split; a person must promote it"
    found, least = metric.value, line.gate.min_auroc
    if found < least:
        return False, f"AUROC {found:.4f} is below the minimum {least:.4f}"
    return True, f"AUROC {found:.4f} reaches the minimum {least:.4f}"


def _against_champion(
    env: Env, home: Home, line: LineConfig, challenger: Bundle, champion: Bundle
) -> tuple[bool, list[str]]:
    samples, reasons = _fair_samples(home, line, challenger, champion)
    ours, theirs = (_outcome(env, home, bundle, samples, line) for bundle in (challenger, champion))
    defect = np.array([sample.is_defect for sample in samples], bool)
    weights = bootstrap_weights([sample.group for sample in samples], line.seed)
    new, old = (
        float(metrics.auroc(one.p_defect, defect, weights[:1])[0]) for one in (ours, theirs)
    )
    reasons.append(f"AUROC {new:.4f} against the champion's {old:.4f} on {len(samples)} images")
    worse = not new >= old - line.gate.max_auroc_drop
    if worse:
        reasons.append(f"that is a drop of more than {line.gate.max_auroc_drop}")
    costly, reason = _costs_more(ours.cost, theirs.cost, weights)
    return not (worse or costly), [*reasons, reason]


def _costs_more(ours: Numbers, theirs: Numbers, weights: Numbers) -> tuple[bool, str]:
    """Whether the challenger's cost a part is higher beyond doubt, by paired group resampling."""
    everything = np.ones(len(ours), bool)
    difference = metrics.mean(ours - theirs, everything, weights)[1:]
    low = float(np.percentile(difference, 2.5))
    reason = f"cost a part {ours.mean():.3f} against {theirs.mean():.3f}"
    return low > 0, reason + (", higher beyond doubt" if low > 0 else "")


def _fair_samples(
    home: Home, line: LineConfig, challenger: Bundle, champion: Bundle
) -> tuple[list[Sample], list[str]]:
    test = list(load_dataset(home, line.name, challenger.card.dataset).split("test"))
    try:
        past = load_dataset(home, line.name, champion.card.dataset)
    except DataError:
        return test, ["the champion's dataset is not here: it may have seen some of these parts"]
    seen = {sample.group for sample in past.samples if sample.split != "test"}
    fair = [sample for sample in test if sample.group not in seen]
    left_out = len({sample.group for sample in test} & seen)
    if len({sample.is_defect for sample in fair}) < 2:
        return test, [f"the champion has seen {left_out} of these groups, which favours it"]
    return fair, [f"{left_out} test groups left out: the champion has seen them"] * bool(left_out)


def _outcome(
    env: Env, home: Home, bundle: Bundle, samples: list[Sample], line: LineConfig
) -> _Outcome:
    scores = score(TestScores, home, open_models(bundle, env.threads), samples, env.threads)
    rows = [
        decide(bundle.card, {name: float(raw[index]) for name, raw in scores.raw.items()})
        for index in range(len(samples))
    ]
    wrong = {
        ("pass", True): line.costs.escape,
        ("fail", False): line.costs.overkill,
        ("pass", False): 0.0,
        ("fail", True): 0.0,
    }
    cost = [
        wrong.get((row.verdict, sample.is_defect), line.costs.review)
        for row, sample in zip(rows, samples, strict=True)
    ]
    # A part without a probability is held, so it ranks as a defect.
    p_defect = [1.0 if row.p_defect is None else row.p_defect for row in rows]
    return _Outcome(np.array(p_defect), np.array(cost))
