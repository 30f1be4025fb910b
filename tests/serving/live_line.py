"""A live line for the API's tests: its file, its pictures and bundles that can be promoted."""

from typing import Any

import cv2
import numpy as np
import onnx
import tiny_line

from ml import files
from ml.bundle import Bundle, seal_bundle
from ml.settings import Home

LINE = "tiny"
DAYS = ("2026-01-05", "2026-01-06")
GAIN = 40.0

LINE_FILE = """
name = "tiny"
title = "Tiny plates"
[source]
uri = "nowhere"
layout = { kind = "masks" }
[checks]
sizes = [[32, 32], [64, 48]]
min_side = 8
"""


def png(strength: int = 0, side: int = tiny_line.SIDE) -> bytes:
    """A grey plate as PNG; with `strength` above 0 it has a red square."""
    pixels = tiny_line.picture(np.random.default_rng(3), strength)
    pixels = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


def seal(
    home: Home, seed: int = 0, line: str = LINE, facts: dict[str, int] | None = None, **more: Any
) -> Bundle:
    """A bundle of a classifier and a segmenter; each seed gives another name.

    `facts` are the segmenter's, `more` are fields of the card.
    """
    draft = home.root / "draft"
    draft.mkdir(parents=True)
    for name in ("classifier", "segmenter"):
        onnx.save(tiny_line.ONNX[name](GAIN), draft / f"{name}.onnx")
    model = {
        "size": tiny_line.SIZE,
        "calibration": {"slope": 1.0, "intercept": 0.0},
        "parity": 0.0,
        "parity_images": 8,
    }
    card = {
        "schema_version": 1,
        "line": line,
        "classes": ["ok", "red"],
        "models": {
            # The redness of a whole plate is small; the segmenter sees single pixels.
            "classifier": model | {"fusion_weight": 0.0},
            "segmenter": model | {"fusion_weight": 1.0, "facts": facts or {}},
        },
        "fusion_intercept": 0.0,
        "thresholds": {
            "pass_below": 0.1, "fail_above": 0.9,
            "escape_cost": 100, "overkill_cost": 10, "review_cost": 1,
        },
        "backbone": {"name": "none", "weights": "none", "weights_sha256": None},
        "dataset": "d", "dataset_counts": {}, "code": "test", "seed": seed, "metrics": {}, **more,
    }  # fmt: skip
    files.write_json(draft / "card.json", card)
    (draft / "reference.parquet").write_bytes(b"")
    return seal_bundle(home, draft)


def promote(home: Home, bundle: Bundle) -> None:
    """Make a bundle live, as the promote step does."""
    record = {"line": LINE, "bundle": bundle.name, "previous": None, "number": 1}
    files.write_json(home.live(LINE), record)
