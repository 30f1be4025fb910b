"""Tiles cover an image, and their merged map is that of the whole image."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_line
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.inference.engine import ModelSet, mask_score
from ml.inference.tiles import cut_tile, merge_tiles, tile_corners

LENGTHS = st.tuples(st.integers(1, 90), st.integers(1, 90))
TILES = st.tuples(st.integers(4, 40), st.integers(4, 40))


@settings(max_examples=80, deadline=None)
@given(size=LENGTHS, tile=TILES)
def test_tiles_cover_the_image_and_neighbours_share_a_quarter(
    size: tuple[int, int], tile: tuple[int, int]
) -> None:
    corners = tile_corners(size, tile)
    for axis in (0, 1):
        starts = sorted({corner[axis] for corner in corners})
        assert starts[0] == 0
        assert starts[-1] == max(0, size[axis] - tile[axis])
        steps = np.diff(starts)
        assert (steps > 0).all()
        # Rounding to whole pixels may take one off.
        assert (steps <= 0.75 * tile[axis] + 1).all()


@settings(max_examples=80, deadline=None)
@given(size=LENGTHS, tile=TILES, seed=st.integers(0, 1000))
def test_merged_tiles_of_a_pointwise_model_are_the_whole_image(
    size: tuple[int, int], tile: tuple[int, int], seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)

    def model(pixels: np.ndarray) -> np.ndarray:
        return (pixels.sum(axis=2, dtype=np.float32) - 300) / 50

    corners = tile_corners(size, tile)
    cut = [cut_tile(image, corner, tile) for corner in corners]
    assert {one.shape for one in cut} == {(*tile, 3)}
    merged = merge_tiles((model(one) for one in cut), corners, size)
    np.testing.assert_allclose(merged, model(image), atol=1e-4)


def test_where_tiles_disagree_the_map_passes_smoothly_from_one_to_the_other() -> None:
    corners = tile_corners((20, 70), (20, 40))
    assert corners == [(0, 0), (0, 30)]
    merged = merge_tiles([np.zeros((20, 40)), np.ones((20, 40))], corners, (20, 70))
    assert np.abs(np.diff(merged, axis=1)).max() < 0.3
    assert (merged[:, :30].max(), merged[:, 40:].min()) == (0, 1)


@pytest.mark.parametrize("size", [(70, 50), (33, 100), (20, 20)])
def test_a_tiled_model_sees_an_image_at_its_own_resolution_alone_and_in_a_batch(
    size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "segmenter.onnx"
    onnx.save(tiny_line.segmenter_onnx(40.0), path)
    models = ModelSet({"segmenter": path}, {"segmenter": tiny_line.SIZE}, 1, tiled=("segmenter",))
    images = [
        np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)
        for seed, shape in enumerate([size, (40, 40), size])
    ]
    together = models.score(images)
    for image, found in zip(images, together, strict=True):
        (alone,) = models.score([image])
        red = image.astype(np.float32)
        logits = (red[..., 0] - red[..., 1]) / 255 * 40 - 4
        assert found.defect_map is not None
        assert found.defect_map.shape == image.shape[:2]
        np.testing.assert_allclose(found.defect_map, 1 / (1 + np.exp(-logits)), atol=1e-4)
        assert found.scores["segmenter"] == pytest.approx(mask_score(logits), abs=1e-3)
        assert found.scores == alone.scores
