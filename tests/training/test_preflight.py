"""What training needs is known before it starts, and what does not fit is shrunk or refused."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ml.data.dataset import load_dataset
from ml.errors import TrainingError
from ml.models.classifier import Classifier
from ml.models.patches import anomaly_features
from ml.settings import Env, Home, LineConfig
from ml.settings.models import AnomalyConfig, BackboneConfig, ClassifierConfig, SegmenterConfig
from ml.training import anomaly, preflight
from ml.training.anomaly import fit_anomaly
from ml.training.embed import embed
from ml.training.pixels import Pixels
from ml.training.preflight import (
    embedding_batch,
    fitting_batch,
    free_memory,
    seconds_per_step,
)
from ml.training.train import train
from tests.training.conftest import MakeDataset

SETTINGS = ClassifierConfig(size=(64, 64), epochs=2, batch=16)
BACKBONE = BackboneConfig(name="test_resnet", weights="none")


@pytest.fixture
def model() -> Classifier:
    return Classifier(BACKBONE, 2, seed=1)


def test_with_room_the_batch_is_the_one_asked_for(model: Classifier) -> None:
    assert free_memory() > 0
    assert fitting_batch(model, SETTINGS, 100, 0) == 16
    # So small that the last feature map is a single pixel.
    assert fitting_batch(model, SETTINGS.model_copy(update={"size": (32, 32)}), 100, 0) == 16


def test_processes_that_train_together_take_the_batch_of_the_one_with_the_least_room(
    model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "lowest", lambda batch: batch // 4)
    assert fitting_batch(model, SETTINGS, 100, 0) == 4


def test_the_less_room_the_smaller_the_batch_until_it_is_refused(
    model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "seconds_per_step", lambda *_: 0.0)
    found = []
    for free in range(120, 60, -2):
        monkeypatch.setattr(preflight, "free_memory", lambda free=free: free << 20)
        try:
            found.append(fitting_batch(model, SETTINGS, 100, 0))
        except TrainingError:
            break
    assert found[0] == 16
    assert found == sorted(found, reverse=True)
    assert set(found) == {16, 8, 4, 2}
    with pytest.raises(TrainingError, match=r"MB for a batch of 2 at 64 x 64.*Lower `size`"):
        fitting_batch(model, SETTINGS, 100, 10**12)
    tiled = SegmenterConfig(size=(64, 64), tile=(64, 64))
    with pytest.raises(TrainingError, match=r"Lower `tile`, or take a smaller backbone"):
        fitting_batch(model, tiled, 100, 10**12)


def test_measuring_a_step_changes_neither_model_nor_random_state(model: Classifier) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    assert seconds_per_step(model, (64, 64), 4) > 0
    assert torch.equal(state, torch.random.get_rng_state())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_halved_batch_is_said_on_the_card(
    env: Env,
    home: Home,
    line: LineConfig,
    make_dataset: MakeDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ml.training.classifier.fitting_batch", lambda *_: 2)
    result = train(env, home, line, make_dataset(), "classifier").run.result
    assert result["facts"] == {"batch": 2, "threads": env.threads}
    assert any("batches of 2 instead of 4" in warning for warning in result["warnings"])


_STEP = """
import sys, torch
from ml.models.classifier import Classifier
from ml.settings.models import BackboneConfig
from ml.training import preflight

def kilobytes(field):
    with open("/proc/self/status") as status:
        return int(dict(row.split(":", 1) for row in status)[field].split()[0])

torch.set_num_threads(1)
model = Classifier(BackboneConfig(name="resnet18", weights="none"), 2, seed=1)
per_image = preflight._bytes_per_image(model, (160, 160))
estimate = 8 * per_image + preflight._fixed_bytes(model)
before = kilobytes("VmRSS")
optimiser = torch.optim.AdamW(model.parameters())
for _ in range(2):
    model(torch.rand(8, 3, 160, 160))[0].sum().backward()
    optimiser.step()
    optimiser.zero_grad()
print(estimate / 1024 / (kilobytes("VmHWM") - before))
"""


def test_the_estimate_is_near_what_a_step_really_takes(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STEP], cwd=project, capture_output=True, text=True, check=True
    )
    assert 0.7 < float(done.stdout) < 1.3


@pytest.mark.parametrize("method", ["patchcore", "discriminator"])
def test_an_anomaly_model_is_refused_before_it_dies_of_memory(
    env: Env,
    home: Home,
    line: LineConfig,
    make_dataset: MakeDataset,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    line = line.model_copy(update={"anomaly": line.anomaly.model_copy(update={"method": method})})
    monkeypatch.setattr(preflight, "free_memory", lambda: 1000)
    monkeypatch.setattr(anomaly, "stream_pixels", None)  # nothing is read
    with pytest.raises(TrainingError, match=r"MB to embed one image at 40 x 40.*`anomaly.size`"):
        train(env, home, line, make_dataset(), "anomaly")


def test_an_anomaly_model_embeds_as_many_images_at_once_as_fit(
    home: Home,
    line: LineConfig,
    make_dataset: MakeDataset,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data, asked = load_dataset(home, "tiny", make_dataset()), []

    def watched(*arguments: Any) -> Iterator[tuple[Pixels, Tensor]]:
        asked.append(arguments[-1])
        return embed(*arguments)

    monkeypatch.setattr(anomaly, "embed", watched)
    caplog.set_level("INFO")
    fit_anomaly(home, line, data, 2)
    assert re.search(r"embedding needs about \d+ MB of .* 0.0 minutes: 8 images, 2 at", caplog.text)
    monkeypatch.setattr(anomaly, "embedding_batch", lambda *_, **__: 1)
    fit_anomaly(home, line, data, 1)
    assert asked == [2, 1]


def test_the_time_of_a_head_is_that_of_its_steps(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    before = torch.get_rng_state()
    for steps in (1_000, 100_000):
        preflight.log_head_time(64, 2, steps)
    assert torch.equal(torch.get_rng_state(), before)
    found = re.findall(r"about ([\d.]+) minutes: 2 times (\d+) steps", caplog.text)
    assert [int(steps) for _, steps in found] == [1_000, 100_000]
    assert float(found[1][0]) > 10 * float(found[0][0])


def test_a_batch_of_embedding_is_halved_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    features = anomaly_features(BACKBONE, AnomalyConfig(size=(64, 64)), 1)
    monkeypatch.setattr(preflight, "_seconds_embedding", lambda *_: 0.0)
    monkeypatch.setattr(preflight, "_bytes_embedding", lambda *_: (16 << 20, 100))
    found = []
    for free in range(2000, 0, -10):
        monkeypatch.setattr(preflight, "free_memory", lambda free=free: free << 20)
        try:
            found.append(embedding_batch(features, (64, 64), images=9, patches=500, batch=64))
        except TrainingError:
            break
    assert found == sorted(found, reverse=True)
    assert set(found) == {64, 32, 16, 8, 4, 2, 1}


_EMBEDDING = """
import torch
from ml.models.patches import anomaly_features
from ml.settings.models import AnomalyConfig, BackboneConfig
from ml.training import preflight

def kilobytes(field):
    with open("/proc/self/status") as status:
        return int(dict(row.split(":", 1) for row in status)[field].split()[0])

torch.set_num_threads(1)
config = AnomalyConfig(size=(320, 320))
features = anomaly_features(BackboneConfig(name="resnet18", weights="none"), config, 1)
features = features.to(memory_format=torch.channels_last)
estimate = 8 * preflight._bytes_embedding(features, config.size)[0]
before = kilobytes("VmRSS")
with torch.inference_mode():
    features(torch.rand(8, 3, 320, 320).to(memory_format=torch.channels_last))
print(estimate / 1024 / (kilobytes("VmHWM") - before))
"""


def test_the_estimate_of_an_embedding_is_near_what_it_really_takes(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _EMBEDDING], cwd=project, capture_output=True, text=True, check=True
    )
    assert 0.7 < float(done.stdout) < 1.3
