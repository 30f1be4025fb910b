"""What the classifier and the segmenter promise of their outputs."""

from pathlib import Path

import pytest
import torch

from ml.models.classifier import OUTPUTS, Classifier
from ml.models.light import same_light
from ml.models.segmenter import Segmenter
from ml.settings.models import BackboneConfig
from ml.training.export import check_parity, export_onnx

TINY = BackboneConfig(name="test_resnet", weights="none")


def test_logits_are_a_linear_layer_on_the_mean_of_the_exported_features() -> None:
    model = Classifier(TINY, classes=3, seed=1).eval()
    with torch.inference_mode():
        logits, features, embedding = model(torch.rand(2, 3, 64, 64) * 255)
        torch.testing.assert_close(embedding, features.mean(dim=(2, 3)))
        torch.testing.assert_close(logits, model.head(embedding))
    assert logits.shape == (2, 3)


def test_pooled_strides_give_mean_deviation_and_highest_places() -> None:
    model = Classifier(TINY, classes=3, seed=1, strides=(32, 8)).eval()
    images = torch.rand(2, 3, 64, 64) * 255
    with torch.inference_mode():
        logits, features, embedding = model(images)
        fine, coarse = model.backbone(model.normalise(images))
        torch.testing.assert_close(logits, model.head(embedding))
        torch.testing.assert_close(embedding, features.mean(dim=(2, 3)))
    highest = fine.flatten(2).topk(int(0.02 * 64) or 1, dim=2).values.mean(dim=2)
    deviation = fine.flatten(2).std(dim=2, correction=0)
    expected = torch.cat([fine.mean(dim=(2, 3)), deviation, highest], dim=1)
    torch.testing.assert_close(embedding[:, : expected.shape[1]], expected, atol=2e-3, rtol=1e-3)
    assert features.shape[2:] == coarse.shape[2:] == (2, 2)


def test_a_small_spot_moves_pooled_strides_more_than_the_mean_of_the_last_map() -> None:
    images = torch.full((1, 3, 128, 128), 128.0)
    spotted = images.clone()
    spotted[:, :, 60:64, 60:64] = 0

    def moved(strides: tuple[int, ...]) -> float:
        model = Classifier(TINY, classes=2, seed=1, strides=strides).eval()
        with torch.inference_mode():
            before, after = (model(one)[2] for one in (images, spotted))
        return float((after - before).norm() / before.norm())

    assert moved((8, 16, 32)) > 3 * moved(())


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (33, 32)])
def test_pooled_strides_score_alike_in_onnx(size: tuple[int, int], tmp_path: Path) -> None:
    model = Classifier(TINY, classes=2, seed=1, strides=(8, 16, 32)).eval()
    path = tmp_path / "classifier.onnx"
    export_onnx(model, OUTPUTS, size, path)
    assert check_parity("classifier", model, path, torch.rand(3, 3, *size) * 255) < 1e-3


@pytest.mark.parametrize("strides", [(), (8, 16)])
@pytest.mark.parametrize("turns", [2, 4])
def test_scores_are_the_mean_over_quarter_turns(
    strides: tuple[int, ...], turns: int, tmp_path: Path
) -> None:
    model = Classifier(TINY, classes=2, seed=1, strides=strides, turns=turns).eval()
    images = torch.rand(3, 3, 64, 64) * 255
    with torch.inference_mode():
        logits, features, embedding = model(images)
        each = [model.pooled(torch.rot90(images, turn, (2, 3))) for turn in range(turns)]
        torch.testing.assert_close(logits, model.head(embedding))
    maps = [torch.rot90(one, -turn, (2, 3)) for turn, (one, _) in enumerate(each)]
    torch.testing.assert_close(features, torch.stack(maps).mean(0))
    torch.testing.assert_close(embedding, torch.stack([one for _, one in each]).mean(0))
    torch.testing.assert_close(embedding, features.mean(dim=(2, 3)))
    path = tmp_path / "classifier.onnx"
    export_onnx(model, OUTPUTS, (64, 64), path)
    assert check_parity("classifier", model, path, images) < 1e-3


def test_a_part_turned_by_a_quarter_scores_the_same() -> None:
    model = Classifier(TINY, classes=2, seed=1, turns=4).eval()
    images = torch.rand(2, 3, 64, 64) * 255
    with torch.inference_mode():
        torch.testing.assert_close(model(images)[0], model(images.rot90(1, (2, 3)))[0])


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (33, 32)])
def test_segmenter_answers_at_the_input_size(size: tuple[int, int]) -> None:
    model = Segmenter(TINY, 32, seed=1).eval()
    with torch.inference_mode():
        assert model(torch.rand(2, 3, *size) * 255).shape == (2, 1, *size)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_batch_norm_keeps_its_statistics_while_training(frozen: bool) -> None:
    config = TINY.model_copy(update={"freeze_batch_norm": frozen})
    for model, part in (
        (Classifier(config, 2, seed=1), "backbone"),
        (Segmenter(config, 32, seed=1), "unet.encoder"),
    ):
        before = {name: value.clone() for name, value in model.named_buffers()}
        model.train()(torch.rand(2, 3, 64, 64) * 255)
        held = [
            torch.equal(value, before[name])
            for name, value in model.named_buffers()
            if name.startswith(part) and name.endswith("running_mean")
        ]
        assert held
        assert all(held) if frozen else not any(held)


def test_the_same_seed_gives_the_same_random_start() -> None:
    for build in (lambda seed: Classifier(TINY, 2, seed), lambda seed: Segmenter(TINY, 32, seed)):
        first, again, other = (
            torch.nn.utils.parameters_to_vector(build(s).parameters()) for s in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_even_light_makes_exposures_alike_and_keeps_an_empty_image_empty() -> None:
    image = torch.rand(1, 3, 32, 32) * 60 + 60
    dark, bright = image * 0.5, image * 1.3 + 10
    torch.testing.assert_close(
        same_light(dark, "even"), same_light(bright, "even"), atol=1e-2, rtol=0
    )
    assert float(same_light(torch.full((1, 3, 8, 8), 3.0), "even").std()) == 0
    even = Segmenter(TINY, 32, seed=1, light="even").eval()
    with torch.inference_mode():
        torch.testing.assert_close(even(dark), even(bright), atol=1e-2, rtol=0)
