"""A storage that fails for a moment is tried again; one that stays away holds the parts."""

from collections import Counter
from pathlib import Path

import pytest
import tiny_line
from tiny_line import Tiny

from ml.bundle import load_bundle
from ml.data import catalog, predicted
from ml.errors import BundleError, StorageError
from ml.inference.batch import predict_shards
from ml.inference.night import plan_night

DAY = tiny_line.DAY
# Whoever reads it gets EIO, as of a broken disk.
UNREADABLE = Path("/proc/self/mem")


def _break(path: Path) -> None:
    path.unlink()
    path.symlink_to(UNREADABLE)


def _predict(tiny: Tiny, *, last_try: bool = False) -> None:
    plan = plan_night(tiny.home, tiny.line, DAY)
    predict_shards(tiny.home, plan, [0], 3, 2, last_try=last_try)


def _reasons(tiny: Tiny) -> Counter[tuple[str, str]]:
    rows = predicted.read(tiny.home, "tiny", day=DAY).to_pylist()
    return Counter((row["verdict"], row["reason"]) for row in rows)


@pytest.mark.parametrize(
    "name",
    ["bundles/{}/MANIFEST", "bundles/{}/SIGNATURE", "bundles/{}/anomaly.onnx", "keys/trusted/*"],
)
def test_a_bundle_that_the_storage_does_not_give_is_tried_again_and_held_at_last(
    live: Tiny, name: str
) -> None:
    bundle = plan_night(live.home, live.line, DAY).bundle
    (path,) = live.home.root.glob(name.format(bundle))
    _break(path)
    with pytest.raises(StorageError, match="Input/output error"):
        _predict(live)
    assert _reasons(live) == {}
    _predict(live, last_try=True)
    assert _reasons(live) == {("review", "the bundle cannot be read"): 7}


def test_a_bundle_that_is_not_there_is_no_fault_of_a_moment(live: Tiny) -> None:
    folder = live.home.bundle(plan_night(live.home, live.line, DAY).bundle)
    (folder / "MANIFEST").unlink()
    (folder / "MANIFEST").mkdir()
    with pytest.raises(BundleError):
        load_bundle(live.home, folder.name)
    _predict(live)
    assert _reasons(live) == {("review", "the bundle was refused"): 7}


def test_a_shard_of_which_no_image_can_be_read_is_tried_again_and_held_at_last(live: Tiny) -> None:
    images = catalog.read_images(live.home, "tiny", day=DAY)["sha256"].to_pylist()[:7]
    for sha256 in images[1:]:
        _break(live.home.object(sha256))
    _predict(live)  # one of them can be read: the others are broken by themselves
    assert _reasons(live)["review", "the stored image cannot be read"] == 6
    _break(live.home.object(images[0]))
    with pytest.raises(StorageError, match="shard 0: the storage gave none of 7 images"):
        _predict(live)
    assert _reasons(live)["review", "the stored image cannot be read"] == 6
    _predict(live, last_try=True)
    assert _reasons(live) == {("review", "the stored image cannot be read"): 7}


def test_images_that_are_lost_are_held_at_once(live: Tiny) -> None:
    for sha256 in catalog.read_images(live.home, "tiny", day=DAY)["sha256"].to_pylist():
        live.home.object(sha256).unlink()
    _predict(live)
    assert _reasons(live) == {("review", "the stored image cannot be read"): 7}
