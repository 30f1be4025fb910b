"""The validation suite of a line: what Great Expectations checks of every image."""

from dataclasses import dataclass
from typing import Any

from ml.settings.line import ChecksConfig


@dataclass(frozen=True)
class Expectation:
    """One expectation of the suite; a row that fails it is quarantined for `reason`."""

    reason: str
    kind: str
    arguments: dict[str, Any]


def suite(checks: ChecksConfig) -> list[Expectation]:
    """The expectations of a line, in the order in which they give the reason."""
    between = "expect_column_values_to_be_between"
    within = "expect_column_values_to_be_in_set"
    expectations = [
        Expectation("undecodable", within, {"column": "problem", "value_set": [""]}),
        Expectation("too_small", between, {"column": "side", "min_value": checks.min_side}),
        Expectation(
            "brightness",
            between,
            {
                "column": "brightness",
                "min_value": checks.brightness[0],
                "max_value": checks.brightness[1],
            },
        ),
        Expectation("contrast", between, {"column": "contrast", "min_value": checks.min_contrast}),
    ]
    if checks.sizes:
        names = [f"{height}x{width}" for height, width in checks.sizes]
        wrong_size = Expectation("wrong_size", within, {"column": "size", "value_set": names})
        expectations.insert(1, wrong_size)
    return expectations
