"""A camera of fewer than 16 bits: its 16-bit files are read by `source.bits`, or not at all."""

import cv2
import numpy as np
import pytest

from ml.data import catalog
from ml.data.dataset import load_dataset, read_rgb
from ml.data.quarantine import Choice, replay
from ml.data.snapshot import snapshot
from ml.errors import ImageError
from ml.imaging import decode
from ml.settings import LineConfig
from tests.data.conftest import SIDE, Plant, make_line


def _png(seed: int, bits: int = 12, shape: tuple[int, ...] = (SIDE, SIDE)) -> bytes:
    most = 2**bits
    values = np.random.default_rng(seed).normal(most / 2, most / 6, shape).clip(0, most - 1)
    return cv2.imencode(".png", values.astype(np.uint16))[1].tobytes()


def _of_bits(bits: int | None) -> LineConfig:
    line = make_line()
    return line.model_copy(update={"source": line.source.model_copy(update={"bits": bits})})


def test_twelve_bits_fill_the_range_of_eight() -> None:
    pixels = decode(_png(1), bits=12)
    deep = cv2.imdecode(np.frombuffer(_png(1), np.uint8), cv2.IMREAD_UNCHANGED)
    assert len(np.unique(pixels)) > 200
    assert np.abs(pixels - deep / 4095 * 255).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (SIDE, SIDE, 3), (SIDE, SIDE, 4)])
def test_without_the_key_an_image_of_few_bits_is_refused_with_its_name(shape) -> None:
    values = np.random.default_rng(1).integers(0, 4096, shape).astype(np.uint16)
    if shape[-1] == 4:
        values[..., 3] = 65535  # opaque
    content = cv2.imencode(".png", values)[1].tobytes()
    with pytest.raises(ImageError, match=r"up to 409\d.*set `source.bits`") as refused:
        decode(content)
    assert refused.value.reason == "source_bits"
    assert decode(content, bits=12).max() == 255
    assert decode(content, bits=16).max() == 16


def test_values_beyond_the_bits_are_refused() -> None:
    with pytest.raises(ImageError, match=r"`source.bits` = 12 ends at 4095") as refused:
        decode(_png(1, bits=14), bits=12)
    assert refused.value.reason == "source_bits"


def test_eight_bits_are_as_they_were() -> None:
    content = cv2.imencode(".png", np.arange(64, dtype=np.uint8).reshape(8, 8))[1].tobytes()
    np.testing.assert_array_equal(decode(content), decode(content, bits=12))


def test_the_key_lets_quarantined_images_in_and_makes_another_dataset(plant: Plant) -> None:
    for number in range(20, 30):
        plant.write(f"ok/deep{number}.png", _png(number))
    assert plant.run().reasons == {"source_bits": 10}
    plant.line = _of_bits(12)
    done = replay(plant.home, plant.line, Choice(), source=str(plant.source), threads=1)
    assert done.outcome.accepted == 10
    rows = catalog.read_images(plant.home, "plant").to_pylist()
    assert min(row["contrast"] for row in rows if "deep" in row["object"]) > 30
    name = snapshot(plant.home, plant.line, None).dataset
    sample = load_dataset(plant.home, "plant", name).samples[0]
    assert sample.bits == 12
    assert snapshot(plant.home, _of_bits(16), None).dataset != name


def test_an_image_that_an_older_loupe_accepted_is_refused_by_name(plant: Plant) -> None:
    plant.line = _of_bits(12)
    for number in range(20, 30):
        plant.write(f"ok/deep{number}.png", _png(number))
    plant.run()
    with pytest.raises(ImageError, match=r"objects.*: 16-bit pixels.*set `source.bits`"):
        snapshot(plant.home, _of_bits(None), None)


def test_a_dataset_of_an_older_loupe_is_read_as_before(plant: Plant) -> None:
    for seed in range(10, 16):
        plant.picture(f"ok/part{seed}.png", seed)
    plant.run()
    name = snapshot(plant.home, plant.line, None).dataset
    path = plant.home.dataset("plant", name).with_suffix(".json")
    path.write_text(path.read_text().replace('"bits"', '"unknown"'))
    sample = load_dataset(plant.home, "plant", name).samples[0]
    assert sample.bits is None
    assert read_rgb(plant.home, sample.sha256, sample.bits).shape == (SIDE, SIDE, 3)
