"""A bundle is used as it was sealed, or not at all."""

import shutil
from pathlib import Path

import pytest
from tiny_line import Tiny

from ml import files
from ml.bundle import Bundle, live_bundle, load_bundle, seal_bundle
from ml.errors import BundleError


@pytest.fixture
def bundle(tiny: Tiny) -> Bundle:
    return tiny.evaluate()


@pytest.mark.parametrize("bit", [0, 2, 5, 7])
def test_one_flipped_bit_in_any_file_is_refused(tiny: Tiny, bundle: Bundle, bit: int) -> None:
    paths = sorted(bundle.folder.iterdir())
    assert {"MANIFEST", "SIGNATURE", "card.json", "reference.parquet"} < {p.name for p in paths}
    for path in paths:
        whole = path.read_bytes()
        for place in (0, len(whole) // 3, len(whole) - 1):
            broken = bytearray(whole)
            broken[place] ^= 1 << bit
            path.write_bytes(broken)
            with pytest.raises(BundleError, match=f"{path.name}: (altered|signed by key)"):
                load_bundle(tiny.home, bundle.name)
        path.write_bytes(whole)
    assert load_bundle(tiny.home, bundle.name) == bundle


def test_a_file_too_many_or_too_few_is_refused(tiny: Tiny, bundle: Bundle) -> None:
    extra = bundle.folder / "extra.onnx"
    extra.write_bytes(b"")
    with pytest.raises(BundleError, match=r"extra\.onnx"):
        load_bundle(tiny.home, bundle.name)
    extra.unlink()
    bundle.reference.unlink()
    with pytest.raises(BundleError, match=r"reference\.parquet"):
        load_bundle(tiny.home, bundle.name)


def test_a_renamed_bundle_is_refused(tiny: Tiny, bundle: Bundle) -> None:
    other = bundle.folder.with_name("f" * 32)
    shutil.copytree(bundle.folder, other)
    with pytest.raises(BundleError, match="its hash is"):
        load_bundle(tiny.home, other.name)


def test_sealing_the_same_content_again_keeps_the_first(
    tiny: Tiny, bundle: Bundle, tmp_path: Path
) -> None:
    draft = tmp_path / "draft"
    shutil.copytree(bundle.folder, draft)
    (draft / "MANIFEST").unlink()
    assert seal_bundle(tiny.home, draft).name == bundle.name
    assert not draft.exists()


def test_no_live_file_is_no_champion_and_a_broken_one_is_an_error(tiny: Tiny) -> None:
    assert live_bundle(tiny.home, "tiny") is None
    files.write_bytes(tiny.home.live("tiny"), b"{")
    with pytest.raises(BundleError, match="promote a bundle again"):
        live_bundle(tiny.home, "tiny")
