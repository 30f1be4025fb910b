"""The demo line is the same for everybody, and exercises every branch."""

import hashlib

from ml.data.synthetic import demo_days, demo_files, write_demo_images


def _digest(seed):
    digest = hashlib.sha256()
    for name, content in demo_files(seed):
        digest.update(name.encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()


def test_equal_seeds_give_equal_bytes_and_others_do_not():
    assert _digest(1) == _digest(1)
    assert _digest(1) != _digest(2)


def test_writing_again_keeps_every_file(tmp_path):
    written, _ = write_demo_images(tmp_path, 1)
    assert write_demo_images(tmp_path, 1) == (0, written)


def test_all_four_defects_and_every_day_occur():
    names = [name for name, _ in demo_files(20261121)]
    manifest = dict(demo_files(20261121))["manifest.csv"].decode()
    for kind in ("scratch", "pit", "stain", "chip", "ok"):
        assert f",{kind}\n" in manifest
    for day in demo_days():
        assert any(day.replace("-", "") in name for name in names)
