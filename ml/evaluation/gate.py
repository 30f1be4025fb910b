"""The `gate` step: may this bundle become the champion?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ml.bundle import Bundle, load_bundle
from ml.bundle.card import Metric
from ml.bundle.history import refused
from ml.bundle.live import live_record
from ml.data.dataset import load_dataset
from ml.errors import BundleError, ImageError
from ml.evaluation.compare import against_champion
from ml.evaluation.latency import latency
from ml.evaluation.scores import TestScores, score
from ml.evaluation.sealed import largest_difference
from ml.evaluation.thresholds import ESCAPED_GROUPS, MILLION, against_ceiling
from ml.inference.engine import open_models
from ml.settings import Env, Home, LineConfig

_FUSED = "fused.auroc"

# Whether a check lets the challenger through, and the sentence about it.
Finding = tuple[bool, str]


@dataclass(frozen=True)
class Judgement:
    """Whether to promote, why, and against which champion (None: there is none)."""

    promote: bool
    reasons: tuple[str, ...]
    champion: str | None


def judge(env: Env, home: Home, line: LineConfig, challenger: Bundle) -> Judgement:
    """Hold the challenger against the line's limits and against the champion.

    The limits: groups behind the figures, AUROC, escapes against the ceiling, parity of torch and
    ONNX, equality of the sealed models' scores with those that the card's figures rest on, and the
    time that an image takes. Both bundles score the same test images (see `compare.py`). A bundle
    that was rolled back or rejected, or has too few groups behind it, is left to a person.
    """
    record = live_record(home, line.name)
    name = None if record is None else str(record["bundle"])
    if record is not None and name == challenger.name:
        return Judgement(True, ("it is the champion already",), record["previous"])
    # What costs nothing comes first; a bundle that fails there is not measured.
    passed, reasons = _read([*_on_paper(home, line, challenger)])
    if not passed:
        return Judgement(False, tuple(reasons), name)
    champion, said = _champion(home, line.name, name)
    measured, more = _read([*_measured(env, home, line, challenger, champion)])
    return Judgement(measured, (*reasons, *said, *more), name)


def _read(findings: list[Finding]) -> tuple[bool, list[str]]:
    return all(passed for passed, _ in findings), [reason for _, reason in findings if reason]


def _on_paper(home: Home, line: LineConfig, challenger: Bundle) -> Iterator[Finding]:
    card = challenger.card
    tested = {name: card.metrics.get(f"fused.{name}") for name in ("escape", "overkill")}
    yield _groups(line, "validation", card.thresholds.rates)
    yield _groups(line, "test", tested)
    yield _minimum(line, challenger)
    yield _rates(challenger)
    yield _escapes(challenger)
    yield _parity(line, challenger)
    for what, entry in refused(home, line.name, challenger.name).items():
        why = f": {entry.reason}" if entry.reason else ""
        yield False, f"it was {what} by {entry.by}{why}; only a person may promote it"


def _groups(line: LineConfig, split: str, rates: Mapping[str, Metric | None]) -> Finding:
    escape, overkill = rates.get("escape"), rates.get("overkill")
    if escape is None or overkill is None:
        said = f"its card does not say how many groups {split} had"
        return False, f"{said}; evaluate again, or a person must promote it"
    said = f"{split} had {escape.n} groups with defects and {overkill.n} good ones"
    least = line.gate.min_groups
    if min(escape.n, overkill.n) < least:
        return False, f"{said}, below `gate.min_groups`, {least}; a person must promote it"
    return True, said


def _escapes(challenger: Bundle) -> Finding:
    ceiling = challenger.card.thresholds.ceiling
    if ceiling is None:
        return True, ""
    found = challenger.card.metrics.get(ESCAPED_GROUPS)
    if found is None or found.low is None:
        said = "the line has a ceiling on escapes, and the card no escape rate of test groups"
        return False, f"{said}; evaluate again, or a person must promote it"
    said = against_ceiling(found, ceiling)
    if found.low * MILLION > ceiling.max_escape_ppm:
        return False, f"{said}: above it beyond doubt"
    return True, said


def _minimum(line: LineConfig, challenger: Bundle) -> Finding:
    metric = challenger.card.metrics.get(_FUSED)
    if metric is None or metric.value is None:
        return False, "AUROC is unknown without defects in the test split; a person must promote it"
    least = line.gate.min_auroc
    if metric.value < least:
        return False, f"AUROC {_measured_as(metric)} is below the minimum {least:.4f}"
    return True, f"AUROC {_measured_as(metric)} reaches the minimum {least:.4f}"


def _rates(challenger: Bundle) -> Finding:
    """What the plant pays for. The costs and the ceiling judge it; who approves must see it."""
    words = {
        "escape": "defective images passed",
        "overkill": "good images failed",
        "review_rate": "held for review",
    }
    tested = {said: challenger.card.metrics.get(f"fused.{name}") for name, said in words.items()}
    rates = [f"{said} {_measured_as(one)}" for said, one in tested.items() if one is not None]
    return True, f"shares of the test images: {'; '.join(rates)}" if rates else ""


def _measured_as(metric: Metric) -> str:
    if metric.value is None:
        return "unknown"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.4f} ({metric.n} test groups, too few for an interval)"
    interval = f"95 % interval {metric.low:.4f} to {metric.high:.4f}"
    return f"{metric.value:.4f} ({interval}, {metric.n} test groups)"


def _parity(line: LineConfig, challenger: Bundle) -> Finding:
    limit = line.gate.max_parity
    models = challenger.card.models.items()
    wrong = [f"{name} {card.parity:.1e}" for name, card in models if card.parity > limit]
    if wrong:
        said = f"torch and ONNX differ by more than `gate.max_parity`, {limit:g}"
        return False, f"{said}: {', '.join(wrong)}"
    return True, ""


def _champion(home: Home, line: str, name: str | None) -> tuple[Bundle | None, list[str]]:
    if name is None:
        return None, ["there is no champion yet"]
    try:
        return load_bundle(home, name, line), []
    except BundleError as error:
        return None, [f"the champion cannot be used ({type(error).__name__}); it is replaced"]


def _measured(
    env: Env, home: Home, line: LineConfig, challenger: Bundle, champion: Bundle | None
) -> Iterator[Finding]:
    samples = load_dataset(home, line.name, challenger.card.dataset).split("test")
    models = open_models(challenger, env.threads)
    scores = score(TestScores, home, models, samples, env.threads)
    yield _sealed(line, challenger, scores)
    yield _in_time(env, home, line, challenger, champion)
    if champion is not None:
        try:
            yield from against_champion(env, home, line, challenger, champion, scores)
        except ImageError as error:
            if error.reason != "source_bits":
                raise
            said = f"the champion cannot read some of these images, so nothing is compared: {error}"
            yield False, f"{said}; a person must promote it"


def _sealed(line: LineConfig, challenger: Bundle, scores: TestScores) -> Finding:
    """The sealed models must be those that the card's figures were computed from."""
    limit = line.gate.max_parity
    found, images = largest_difference(challenger, scores)
    if not images:
        return False, "its reference has no test image: the sealed models cannot be checked"
    if not found <= limit:
        return False, (
            f"the sealed models differ by {found:.1e} from the scores that its figures rest on, "
            f"above `gate.max_parity`, {limit:g}; evaluate again on this machine"
        )
    return True, f"the sealed models give the measured scores ({images} images, within {limit:g})"


def _in_time(
    env: Env, home: Home, line: LineConfig, challenger: Bundle, champion: Bundle | None
) -> Finding:
    found = latency(env, home, line.name, challenger, champion)
    said = f"{found.challenger_ms:.1f} ms an image"
    if found.champion_ms is not None:
        said += f" against the champion's {found.champion_ms:.1f} ms"
    limit = line.gate.max_latency_ms
    if limit is not None and found.challenger_ms > limit:
        return False, f"{said}: above `gate.max_latency_ms`, {limit:g}"
    if found.slowdown > line.gate.max_slowdown:
        return False, f"{said}: above `gate.max_slowdown`, {line.gate.max_slowdown:g} times"
    return True, said
