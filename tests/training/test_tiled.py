"""With `tile` a segmenter trains on the tiles that the engine cuts, and its run says so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.data.dataset import load_dataset, read_mask, read_rgb
from ml.evaluation.scores import ValidationScores
from ml.inference.engine import ModelSet
from ml.models.segmenter import Segmenter
from ml.search import search as room
from ml.search.objective import score_validation
from ml.search.search import search
from ml.settings import Env, Home, LineConfig
from ml.settings.models import ExportConfig
from ml.training.export import OUTPUTS, export_onnx
from ml.training.tiles import count_inputs, load_inputs, load_one_each
from ml.training.train import train
from tests.training.conftest import MakeDataset


def tiled(line: LineConfig, tile: tuple[int, int]) -> LineConfig:
    """The line with a segmenter of tiles."""
    return line.model_copy(update={"segmenter": line.segmenter.model_copy(update={"tile": tile})})


def test_a_tile_is_a_defect_only_where_its_mask_is(
    home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    samples = load_dataset(home, "tiny", make_dataset()).split("train")
    config = tiled(line, (24, 24)).segmenter
    found = load_inputs(home, samples, config, threads=2)
    assert found.masks is not None
    assert len(found.samples) == count_inputs(home, samples, config, 2) == 4 * len(samples)
    assert [one.is_defect for one in found.samples] == found.masks.any(axis=(1, 2)).tolist()
    assert {one.group for one in found.samples} == {one.group for one in samples}
    for number, sample in enumerate(samples):
        if sample.is_defect:
            whole = read_mask(home, sample.mask)
            corner = found.masks[4 * number]
            assert np.array_equal(corner > 0, whole[:24, :24])


def test_a_tiled_segmenter_is_trained_and_exported_at_the_size_of_its_tiles(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    run = train(env, home, tiled(line, (24, 32)), make_dataset(), "segmenter").run
    assert (run.result["tiled"], list(run.result["size"])) == (True, [24, 32])
    assert run.result["metrics"]["dice"] is not None
    assert json.loads((run.folder / "result.json").read_text()) == run.result
    whole = train(env, home, line, "d1", "segmenter").run
    assert not whole.result["tiled"]
    assert whole.name != run.name


def test_a_tiled_segmenter_is_quantised_on_its_tiles(
    env: Env, home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    line = tiled(line, (24, 32)).model_copy(update={"export": ExportConfig(int8="auto")})
    found = train(env, home, line, make_dataset(train=(4, 4), validation=(2, 2)), "segmenter").run
    assert found.int8 is not None
    card = found.int8["card"]
    assert (card["calibration_images"], card["loss_points"] is None) == (8, False)
    # Both judge the same tiles of validation.
    assert card["fp32"] == {k: round(v, 4) for k, v in found.result["metrics"].items()}


def test_one_tile_of_each_image_shows_its_defect(
    home: Home, line: LineConfig, make_dataset: MakeDataset
) -> None:
    samples = load_dataset(home, "tiny", make_dataset()).split("train")
    config = tiled(line, (24, 24)).segmenter
    found = load_one_each(home, samples, config, threads=1)
    whole = load_inputs(home, samples, config, threads=1)
    assert whole.masks is not None
    for number, sample in enumerate(samples):
        four = slice(4 * number, 4 * number + 4)
        drawn = whole.masks[four].sum(axis=(1, 2))
        same = (whole.images[four] == found.images[number]).all(axis=(1, 2, 3))
        assert drawn[same] == drawn.max()
        assert sample.is_defect or same[2]


def test_a_search_judges_a_tiled_segmenter_as_the_night_does(
    home: Home, line: LineConfig, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    data = load_dataset(home, "tiny", make_dataset())
    network = Segmenter(line.backbone, line.segmenter.decoder, seed=1)
    found = score_validation(home, data, "segmenter", network, (24, 32), True, 1)
    export_onnx(network, OUTPUTS["segmenter"], (24, 32), tmp_path / "model.onnx")
    models = ModelSet(
        {"segmenter": tmp_path / "model.onnx"}, {"segmenter": (24, 32)}, 1, tiled=["segmenter"]
    )
    expected = [
        models.score([read_rgb(home, sample.sha256)])[0].scores["segmenter"]
        for sample in data.split("validation")
    ]
    assert found.raw["segmenter"].tolist() == pytest.approx(expected, abs=1e-5)
    resized = score_validation(home, data, "segmenter", network, (24, 32), False, 1)
    assert np.abs(resized.raw["segmenter"] - expected).max() > 1e-3


def test_a_tiled_segmenter_is_searched(
    env: Env,
    home: Home,
    line: LineConfig,
    make_dataset: MakeDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged: list[tuple[object, ...]] = []
    honest = room.score_validation

    def watched(*arguments: Any) -> ValidationScores:
        judged.append(arguments[4:6])
        return honest(*arguments)

    network = Segmenter(line.backbone, line.segmenter.decoder, seed=1)
    monkeypatch.setattr(room, "fit_segmenter", lambda *_: (network, None))
    monkeypatch.setattr(room, "score_validation", watched)
    search(env, home, tiled(line, (24, 32)), make_dataset(), "segmenter", 1, "f2")
    assert judged == [((24, 32), True)]
