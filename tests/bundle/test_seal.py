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


def test_one_flipped_bit_in_any_file_is_refused(bundle: Bundle) -> None:
    for path in sorted(bundle.folder.iterdir()):
        whole = path.read_bytes()
        broken = bytearray(whole)
        broken[len(broken) // 3] ^= 4
        path.write_bytes(broken)
        with pytest.raises(BundleError, match=r"altered|not a bundle|missing or added"):
            load_bundle(bundle.folder)
        path.write_bytes(whole)
    assert load_bundle(bundle.folder).card == bundle.card


def test_a_file_too_many_or_too_few_is_refused(bundle: Bundle) -> None:
    extra = bundle.folder / "extra.onnx"
    extra.write_bytes(b"")
    with pytest.raises(BundleError, match=r"extra\.onnx"):
        load_bundle(bundle.folder)
    extra.unlink()
    bundle.reference.unlink()
    with pytest.raises(BundleError, match=r"reference\.parquet"):
        load_bundle(bundle.folder)


def test_a_renamed_bundle_is_refused(bundle: Bundle) -> None:
    other = bundle.folder.with_name("f" * 32)
    shutil.copytree(bundle.folder, other)
    with pytest.raises(BundleError, match="its hash is"):
        load_bundle(other)


def test_sealing_the_same_content_again_keeps_the_first(bundle: Bundle, tmp_path: Path) -> None:
    draft = tmp_path / "draft"
    shutil.copytree(bundle.folder, draft)
    (draft / "MANIFEST").unlink()
    assert seal_bundle(draft, bundle.folder.parent).name == bundle.name
    assert not draft.exists()


def test_no_live_file_is_no_champion_and_a_broken_one_is_an_error(tiny: Tiny) -> None:
    assert live_bundle(tiny.home, "tiny") is None
    files.write_bytes(tiny.home.live("tiny"), b"{")
    with pytest.raises(BundleError, match="promote a bundle again"):
        live_bundle(tiny.home, "tiny")
