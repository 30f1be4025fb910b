"""`loupe line check` says no to a line that cannot train."""

import json

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from tiny_line import write_squares, write_training_line

from ml.cli.main import main


@pytest.fixture
def check(tmp_path):
    """Check the tiny line with some text of its file replaced; gives status and words."""
    write_squares(tmp_path / "images")

    def run(old="", new="", models=("classifier", "anomaly")):
        path = write_training_line(tmp_path / "tiny.toml", str(tmp_path / "images"), models)
        path.write_text(path.read_text().replace(old, new))
        done = CliRunner().invoke(main, ["line", "check", str(path)])
        return done.exit_code, done.output

    return run


def test_a_line_that_can_train_is_right(check):
    status, said = check()
    assert status == 0
    assert json.loads(said)["images"] == 60


@pytest.mark.parametrize(
    ("name", "close"), [("mobilnet", "mobilenet"), ("restnet18", "resnet18"), ("zzzzzz", "correct")]
)
def test_a_backbone_that_does_not_exist_is_named_with_close_ones(check, name, close):
    status, said = check('"test_resnet"', f'"{name}"')
    assert status == 2
    assert f"backbone '{name}' is no timm network" in said
    assert close in said


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[classifier]", "[classifier]\nstrides = [3]", r"classifier: test_resnet has no features"),
        ("strides = [8]", "strides = [64]", r"anomaly: test_resnet has no features at stride [64]"),
        ('"test_resnet"', '"test_vit"', "classifier: backbone 'test_vit' is a transformer"),
        ('"test_resnet"', '"efficientvit_b0"', "classifier: backbone 'efficientvit_b0' does not"),
        ('"none"', '"other.safetensors"', "classifier: "),
    ],
)
def test_networks_that_cannot_be_built_are_named(check, tmp_path, old, new, message):
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    status, said = check(old, new)
    assert status == 2
    assert f"line tiny, {message}" in said


def test_a_segmenter_that_can_have_no_mask_is_named(check):
    models = ("classifier", "segmenter")
    status, said = check(models=models)
    assert status == 2
    assert "has a segmenter, but layout `class_folders` gives no masks" in said
    assert check("[anomaly]", "[segmenter]\nweak_labels = true\n[anomaly]", models)[0] == 0


def test_names_that_the_pattern_does_not_match_are_named(check, tmp_path, caplog):
    odd = tmp_path / "images" / "ok" / "odd.png"
    odd.write_bytes((tmp_path / "images" / "ok" / "part01.png").read_bytes())
    old = 'kind = "class_folders"'
    assert check(old, old + "\npattern = 'part(?P<part>[0-9]+)'")[0] == 0
    assert "1 of 61 images do not match `source.layout.pattern`: ok/odd.png" in caplog.text
