"""What a search may change: settings around those that the line file gives."""

from typing import Any, Literal

from optuna.trial import Trial

from ml.settings import LineConfig

Searchable = Literal["classifier", "segmenter"]

# Times and parts of the line's own learning rate.
_REACH = 10.0
_BATCHES = {"classifier": (8, 16, 32), "segmenter": (4, 8, 16)}
_DECODERS = (64, 128, 256)
_DIGITS = 3


def own_keys(line: LineConfig, model: Searchable) -> dict[str, Any]:
    """The values of the searched keys in the line file: the first trial."""
    settings = getattr(line, model)
    keys = ["learning_rate", "batch", *(["decoder"] if model == "segmenter" else [])]
    return {key: getattr(settings, key) for key in keys}


def suggest(trial: Trial, line: LineConfig, model: Searchable) -> dict[str, Any]:
    """The keys of one trial; the line's own values are always among the possible ones."""
    own = own_keys(line, model)
    rate = own["learning_rate"]
    found = {
        "learning_rate": trial.suggest_float(
            "learning_rate", rate / _REACH, rate * _REACH, log=True
        ),
        "batch": trial.suggest_categorical("batch", sorted({*_BATCHES[model], own["batch"]})),
    }
    if model == "segmenter":
        choices = sorted({*_DECODERS, own["decoder"]})
        found["decoder"] = trial.suggest_categorical("decoder", choices)
    return rounded(found)


def rounded(keys: dict[str, Any]) -> dict[str, Any]:
    """Few digits, so that what is pasted into a line file is what was tried."""
    rate = float(f"{keys['learning_rate']:.{_DIGITS}g}")
    return keys | {"learning_rate": rate}


def changed(line: LineConfig, model: Searchable, keys: dict[str, Any]) -> LineConfig:
    """The line with these keys of one model."""
    settings = getattr(line, model).model_copy(update=keys)
    return line.model_copy(update={model: settings})


def to_toml(model: Searchable, keys: dict[str, Any]) -> str:
    """The keys as lines of a line file."""
    return "\n".join([f"[{model}]", *(f"{key} = {value!r}" for key, value in keys.items())])
