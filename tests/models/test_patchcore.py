"""The coreset keeps its promises, and the bank finds exact nearest neighbours."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.errors import TrainingError
from ml.models.light import same_light
from ml.models.patchcore import PatchCore, greedy_coreset
from ml.models.patches import anomaly_features, mean_of_neighbours, mean_of_top
from ml.settings.models import AnomalyConfig, BackboneConfig

TINY = BackboneConfig(name="test_resnet", weights="none")
CONFIG = AnomalyConfig(size=(48, 48), strides=(4, 8), bank=16, projection=16)

seeds = st.integers(0, 2**31 - 1)


def patches_of(seed: int, count: int) -> torch.Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))


def exact_distances(patches: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    return torch.cdist(patches.double(), bank.double(), compute_mode="donot_use_mm_for_euclid_dist")


def radii(patches: torch.Tensor, chosen: torch.Tensor) -> list[float]:
    """Covering radius after each chosen point."""
    distances = exact_distances(patches, patches[chosen])
    return [float(distances[:, : n + 1].amin(dim=1).max()) for n in range(len(chosen))]


@settings(max_examples=40, deadline=None)
@given(seed=seeds, count=st.integers(1, 60), size=st.integers(1, 70))
def test_coreset_has_distinct_points_and_the_asked_size(seed: int, count: int, size: int) -> None:
    chosen = greedy_coreset(patches_of(seed, count), size, seed).tolist()
    assert len(chosen) == len(set(chosen)) == min(size, count)
    assert set(chosen) <= set(range(count))


@settings(max_examples=40, deadline=None)
@given(seed=seeds, count=st.integers(2, 60))
def test_covering_radius_falls_with_every_point_and_ends_at_zero(seed: int, count: int) -> None:
    patches = patches_of(seed, count)
    found = radii(patches, greedy_coreset(patches, count, seed))
    assert all(after <= before for before, after in pairwise(found))
    assert found[-1] == 0


@settings(max_examples=40, deadline=None)
@given(seed=seeds, count=st.integers(2, 40), size=st.integers(2, 12))
def test_coreset_equals_the_naive_algorithm(seed: int, count: int, size: int) -> None:
    patches = patches_of(seed, count)
    chosen = greedy_coreset(patches, size, seed).tolist()
    naive = chosen[:1]
    while len(naive) < min(size, count):
        nearest = exact_distances(patches, patches[naive]).amin(dim=1)
        naive.append(int(nearest.argmax()))
    assert chosen == naive


def test_start_point_follows_the_seed() -> None:
    patches = patches_of(1, 50)
    starts = {int(greedy_coreset(patches, 1, seed)[0]) for seed in range(8)}
    assert len(starts) > 1
    assert torch.equal(greedy_coreset(patches, 9, 3), greedy_coreset(patches, 9, 3))


@pytest.mark.parametrize("bank_size", [3, 1001, 2300])
def test_map_is_the_exact_nearest_neighbour_distance_across_chunks(bank_size: int) -> None:
    features = anomaly_features(TINY, CONFIG, seed=1)
    image = torch.rand(2, 3, 48, 48) * 255
    with torch.inference_mode():
        patches = features(image)[0]
        spread = patches.std()
        bank = torch.randn(bank_size, patches.shape[1]) * spread + patches.mean()
        score, heat, _ = PatchCore(features, bank, 0.01)(image)
    flat = patches.permute(0, 2, 3, 1).reshape(-1, patches.shape[1])
    exact = exact_distances(flat, bank).amin(dim=1).view(heat.shape)
    expected = mean_of_neighbours(exact, zeros_beyond=False)
    torch.testing.assert_close(heat.double(), expected, rtol=1e-3, atol=1e-4)
    assert (score <= heat.amax(dim=(1, 2, 3))).all()
    assert (score >= heat.mean(dim=(1, 2, 3))).all()


def test_an_image_of_the_bank_scores_zero() -> None:
    features = anomaly_features(TINY, CONFIG, seed=1)
    image = torch.rand(1, 3, 48, 48) * 255
    with torch.inference_mode():
        patches = features(image)[0]
        bank = patches.permute(0, 2, 3, 1).reshape(-1, patches.shape[1])
        score, _, _ = PatchCore(features, bank, 0.01)(image)
        other, _, _ = PatchCore(features, bank, 0.01)(255 - image)
    assert float(score) < 1e-2 * float(other)


def test_a_stride_that_the_backbone_lacks_is_named() -> None:
    config = AnomalyConfig(size=(48, 48), strides=(64,), bank=16)
    with pytest.raises(TrainingError, match=r"stride \[64\]"):
        anomaly_features(TINY, config, seed=1)


@pytest.mark.parametrize(("method", "border"), [("patchcore", 6 / 9), ("discriminator", 1.0)])
def test_the_border_of_a_flat_image(method: str, border: float) -> None:
    """PatchCore counts zeros beyond the image, the discriminator only what is there."""
    features = anomaly_features(TINY, CONFIG.model_copy(update={"method": method}), seed=1)
    features.pyramid = Planes(features.pyramid.feature_info.channels())
    patches, _ = features(torch.full((1, 3, 48, 48), 128.0))
    torch.testing.assert_close(patches[..., 0, 5], border * patches[..., 5, 5])


class Planes(torch.nn.Module):
    """A pyramid whose maps are the mean grey level everywhere."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.widths = widths

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        level = image.mean(dim=(1, 2, 3), keepdim=True)
        return [
            level.expand(-1, width, side, side)
            for width, side in zip(self.widths, (12, 6), strict=True)
        ]


@settings(max_examples=30, deadline=None)
@given(seed=seeds, gain=st.floats(0.4, 1.0))
def test_gain_makes_exposures_equal_until_they_clip(seed: int, gain: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = 60 + 40 * torch.rand(2, 3, 8, 8, generator=generator)
    torch.testing.assert_close(same_light(image * gain, "gain"), same_light(image, "gain"))
    assert torch.equal(same_light(image, "as_is"), image)


@pytest.mark.parametrize(("share", "expected"), [(0.01, 9.0), (0.2, 8.5), (1.0, 4.5)])
def test_mean_of_top_takes_at_least_one(share: float, expected: float) -> None:
    assert float(mean_of_top(torch.arange(10.0)[None], share)) == expected
