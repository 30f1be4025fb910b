"""With `tile` a segmenter trains on the tiles that the engine cuts, and its run says so."""

import json

import numpy as np

from ml.data.dataset import load_dataset, read_mask
from ml.settings import Env, Home, LineConfig
from ml.training.tiles import count_inputs, load_inputs
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
