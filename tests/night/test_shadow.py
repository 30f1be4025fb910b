"""A challenger scores the night beside the champion, and changes nothing of it."""

from collections import Counter
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
import tiny_line
from tiny_line import Tiny

from ml import files
from ml.bundle.live import live_name, wait
from ml.data import catalog, predicted
from ml.errors import DataError
from ml.imaging import Pixels
from ml.inference import batch
from ml.inference.batch import predict_shards
from ml.inference.night import plan_night
from ml.inference.shadow import compare_shadow

DAY = tiny_line.DAY
IMAGES = tiny_line.DAY_IMAGES


@pytest.fixture
def challenger(live: Tiny) -> str:
    """A bundle that sees the wrong way round."""
    line = live.line.model_copy(update={"seed": 5})
    tiny_line.write_runs(live.home, line, gain=-40.0)
    return replace(live, line=line).evaluate().name


def _rows(tiny: Tiny, name: str = "predictions") -> list[dict[str, Any]]:
    return predicted.read(tiny.home, "tiny", day=DAY, name=name).to_pylist()


def _inspect(tiny: Tiny, shadow: str | None) -> list[dict[str, Any]]:
    plan = plan_night(tiny.home, tiny.line, DAY, shadow=shadow)
    predict_shards(tiny.home, plan, range(len(plan.sizes)), 3, 2)
    return _rows(tiny)


def test_a_shadow_scores_the_same_decoding_and_touches_no_verdict(
    live: Tiny, challenger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    honest = batch.decode

    def counted(content: bytes, bits: int | None) -> Pixels:
        decoded.append(len(content))
        return honest(content, bits=bits)

    monkeypatch.setattr(batch, "decode", counted)
    alone = _inspect(live, None)
    assert len(decoded) == IMAGES
    with pytest.raises(DataError, match="loupe shards --shadow"):
        compare_shadow(live.home, "tiny", DAY)
    assert _inspect(live, challenger) == alone
    assert len(decoded) == 2 * IMAGES
    found = compare_shadow(live.home, "tiny", DAY)
    assert (found.images, found.shadow) == (IMAGES, challenger)
    shadow = Counter(row["verdict"] for row in _rows(live, "shadow"))
    champion = Counter(row["verdict"] for row in alone)
    for at, counts in ((0, champion), (1, shadow)):
        sums: Counter[str] = Counter()
        for pair, count in found.verdicts.items():
            sums[pair.split(", ")[at]] += count
        assert sums == counts
    same = sum(count for pair, count in found.verdicts.items() if len(set(pair.split(", "))) == 1)
    assert (found.agree, len(found.differ)) == (same, min(50, IMAGES - same))
    assert compare_shadow(live.home, "tiny", DAY) == found
    # Planned again without it, the night has no shadow left.
    _inspect(live, None)
    assert _rows(live, "shadow") == []


def test_the_challenger_that_waits_is_the_shadow_where_the_line_says_so(
    live: Tiny, challenger: str
) -> None:
    night = live.line.night.model_copy(update={"shadow": "waiting"})
    line = live.line.model_copy(update={"night": night})
    assert plan_night(live.home, line, DAY).shadow == ""
    wait(live.home, "tiny", challenger)
    assert plan_night(live.home, line, DAY).shadow == challenger
    assert plan_night(live.home, live.line, DAY).shadow == ""
    for damaged in ("{", '{"bundle": null}'):
        live.home.waiting("tiny").write_text(damaged)
        assert plan_night(live.home, line, DAY).shadow == ""
    live.home.waiting("tiny").unlink()
    live.home.waiting("tiny").mkdir()  # cannot be read, which stops no night
    assert plan_night(live.home, line, DAY).shadow == ""


def test_rows_of_an_earlier_challenger_are_not_those_of_the_next(
    live: Tiny, challenger: str
) -> None:
    _inspect(live, challenger)
    plan_night(live.home, live.line, DAY, shadow=challenger)
    assert len(_rows(live, "shadow")) == IMAGES
    plan_night(live.home, live.line, DAY, shadow=live_name(live.home, "tiny"))
    assert _rows(live, "shadow") == []


def test_a_shadow_that_is_refused_stops_nothing(live: Tiny, challenger: str) -> None:
    alone = _inspect(live, None)
    plan = plan_night(live.home, live.line, DAY, shadow=challenger)
    (live.home.bundle(challenger) / "card.json").write_text("{}")
    predict_shards(live.home, plan, range(len(plan.sizes)), 3, 2)
    assert _rows(live) == alone
    assert _rows(live, "shadow") == []


def test_a_shadow_that_reads_deep_images_otherwise_is_left_out(live: Tiny) -> None:
    alone = _inspect(live, None)
    path = live.home.dataset("tiny", tiny_line.DATASET).with_suffix(".json")
    files.write_json(path, files.read_json(path) | {"bits": 12})
    line = live.line.model_copy(update={"seed": 6})
    tiny_line.write_runs(live.home, line)
    other = replace(live, line=line).evaluate()
    assert other.card.bits == 12
    assert _inspect(live, other.name) == alone
    assert _rows(live, "shadow") == []


def test_a_deep_image_is_held_under_a_bundle_that_does_not_know_its_bits(live: Tiny) -> None:
    (row,) = catalog.read_images(live.home, "tiny", day=DAY).to_pylist()[:1]
    deep = np.random.default_rng(1).integers(0, 4096, (tiny_line.SIDE,) * 2).astype(np.uint16)
    row["sha256"] = tiny_line.store(live.home, cv2.imencode(".png", deep)[1].tobytes())
    catalog.upsert_images(live.home, "tiny", pa.Table.from_pylist([row], schema=catalog.IMAGES))
    found = {one["object"]: one for one in _inspect(live, None)}
    held = found.pop(row["object"])
    assert (held["verdict"], held["reason"], held["p_defect"]) == ("review", "source_bits", None)
    assert all(one["p_defect"] is not None for one in found.values())


@pytest.mark.parametrize("part", ["rows", "table"])
def test_a_shadow_that_fails_later_stops_nothing_either(
    live: Tiny, challenger: str, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    alone = _inspect(live, None)

    def fails(honest: Any) -> Any:
        def call(self: Any, *arguments: Any) -> Any:
            if challenger in str(getattr(arguments[0], "bundle", "")) or "shadow" in arguments:
                raise OSError(part)
            return honest(self, *arguments)

        return call

    name = {"rows": "_rows", "table": "_commit"}[part]
    monkeypatch.setattr(batch._Pipeline, name, fails(getattr(batch._Pipeline, name)))
    assert _inspect(live, challenger) == alone
    assert _rows(live, "shadow") == []
