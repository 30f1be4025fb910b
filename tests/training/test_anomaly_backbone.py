"""The anomaly model may look through a backbone of its own, a transformer beside a small CNN."""

from pathlib import Path

import pytest

from ml.errors import TrainingError
from ml.settings import Env, Home, LineConfig, load_line
from ml.settings.models import AnomalyConfig, BackboneConfig
from ml.training.export import MAX_PARITY
from ml.training.run import run_name
from ml.training.train import train
from tests.training.conftest import MakeDataset


@pytest.fixture
def own(line: LineConfig) -> LineConfig:
    """The tiny line with a vision transformer for the anomaly model."""
    anomaly = AnomalyConfig(
        backbone=BackboneConfig(name="test_vit", weights="none"),
        size=(48, 48),
        strides=(16,),
        bank=20,
    )
    return line.model_copy(update={"anomaly": anomaly})


def test_a_bank_of_a_transformers_tokens_is_fitted_and_exported(
    env: Env, home: Home, own: LineConfig, make_dataset: MakeDataset
) -> None:
    result = train(env, home, own, make_dataset(), "anomaly").run.result
    assert result["backbone"] == {"name": "test_vit", "weights": "none", "weights_sha256": None}
    assert result["parity"] <= MAX_PARITY
    assert result["metrics"]["auroc"] is not None


def test_only_the_anomaly_run_is_another(line: LineConfig, own: LineConfig) -> None:
    back = own.model_copy(update={"anomaly": own.anomaly.model_copy(update={"backbone": None})})
    assert run_name(own, "d1", "anomaly", None) != run_name(back, "d1", "anomaly", None)
    assert run_name(own, "d1", "classifier", None) == run_name(line, "d1", "classifier", None)
    assert own.backbone_of("classifier") == own.backbone_of("segmenter") == line.backbone


def test_a_size_that_does_not_suit_the_patches_stops_before_any_image_is_read(
    env: Env, home: Home, own: LineConfig, make_dataset: MakeDataset
) -> None:
    odd = own.model_copy(update={"anomaly": own.anomaly.model_copy(update={"size": (50, 48)})})
    with pytest.raises(TrainingError, match=r"16 x 16 pixels; the size 50 x 48"):
        train(env, home, odd, make_dataset(), "anomaly")


def test_its_weights_lie_beside_the_line_file_and_name_the_run_by_content(tmp_path: Path) -> None:
    path = tmp_path / "plates.toml"
    path.write_text(
        'name = "plates"\ntitle = "Plates"\n[source]\nuri = "x"\nlayout = { kind = "masks" }\n'
        '[anomaly.backbone]\nname = "test_vit"\nweights = "dino.safetensors"\n'
    )
    line = load_line(path)
    assert line.backbone_of("anomaly").weights == str(tmp_path / "dino.safetensors")
    assert line.backbone.weights == "hub"
    own = line.backbone_of("anomaly").model_copy(update={"weights": "/elsewhere/dino.safetensors"})
    moved = line.model_copy(update={"anomaly": line.anomaly.model_copy(update={"backbone": own})})
    assert run_name(line, "d1", "anomaly", "ab") == run_name(moved, "d1", "anomaly", "ab")
    assert run_name(line, "d1", "anomaly", "ab") != run_name(line, "d1", "anomaly", "cd")
