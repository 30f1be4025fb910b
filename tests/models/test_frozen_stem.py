"""Held layers stay as they are in a training step, and even light hides what the lamp did."""

import pytest
import torch

from ml.errors import TrainingError
from ml.models.classifier import Classifier
from ml.settings.models import BackboneConfig

RANDOM = BackboneConfig(name="test_resnet", weights="none")


def test_layers_up_to_the_stride_stay_and_the_others_learn() -> None:
    model = Classifier(RANDOM, 2, seed=1, frozen_stride=8).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.rand(4, 3, 64, 64) * 255)[0].square().sum().backward()
    optimiser.step()
    changed = {
        name for name, tensor in model.state_dict().items() if not tensor.equal(before[name])
    }
    held = ("backbone.conv1", "backbone.bn1", "backbone.layer1", "backbone.layer2.0.conv")
    assert not any(name.startswith(held) for name in changed)
    for name in (
        "backbone.layer3.0.conv1.weight",
        "backbone.layer4.0.bn1.running_mean",
        "head.bias",
    ):
        assert name in changed


def test_timm_s_own_batch_norm_is_held_too() -> None:
    config = BackboneConfig(name="mobilenetv2_035", weights="none")
    backbone = Classifier(config, 2, seed=1, frozen_stride=8).backbone
    learning = [name for name, one in backbone.named_parameters() if one.requires_grad]
    assert learning[0].startswith(("blocks.2.2.bn3", "blocks.3"))


def test_a_stride_that_the_network_does_not_have_is_named() -> None:
    with pytest.raises(TrainingError, match=r"frozen_stride` is 6; the backbone has .*8, 16"):
        Classifier(RANDOM, 2, seed=1, frozen_stride=6)


def test_even_light_sees_through_exposure() -> None:
    model = Classifier(RANDOM, 2, seed=1, light="even").eval()
    image = torch.rand(2, 3, 64, 64) * 100
    with torch.inference_mode():
        logits, brighter = model(image)[0], model(image * 1.5 + 40)[0]
    torch.testing.assert_close(logits, brighter, rtol=0.05, atol=0.02)
