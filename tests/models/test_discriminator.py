"""The discriminator learns good patches alone, and more where defects are labelled."""

import pytest
import torch

from ml.models import discriminator
from ml.models.discriminator import PatchHead, TrainingPatches, fit_patch_head

WIDTH = 6


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_GOOD", "_CLEAN", "_DEFECT", "_NOISY"):
        monkeypatch.setattr(discriminator, name, getattr(discriminator, name) // 8)


def drawn(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """Patches whose first feature is `shift` off, at a scale of their own."""
    patches = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))
    patches[:, 0] += shift
    return 7 * patches + 3


def fitted(defect: torch.Tensor, steps: int = 150) -> PatchHead:
    nothing = torch.empty(0, WIDTH)
    patches = TrainingPatches(drawn(2000, 1), nothing, defect, torch.ones(len(defect)))
    return fit_patch_head(patches, steps, seed=5)


def test_without_defects_what_is_far_from_good_scores_higher() -> None:
    head = fitted(torch.empty(0, WIDTH), steps=400)
    with torch.inference_mode():
        good, far = head(drawn(500, 2)), head(drawn(500, 3, shift=6.0))
    assert float((far > good.quantile(0.95)).float().mean()) > 0.9


def test_labelled_defects_teach_a_small_change_that_noise_cannot() -> None:
    blind, taught = fitted(torch.empty(0, WIDTH)), fitted(drawn(300, 4, shift=2.0))
    good, small = drawn(1000, 2), drawn(1000, 3, shift=2.0)

    def separation(head: PatchHead) -> float:
        with torch.inference_mode():
            return float((head(small)[:, None] > head(good)[None]).float().mean())

    assert separation(taught) > separation(blind) + 0.05
    assert separation(taught) > 0.85


def test_equal_inputs_give_equal_weights_and_leave_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    first, second = fitted(drawn(50, 4, 2.0), 20), fitted(drawn(50, 4, 2.0), 20)
    assert torch.equal(before, torch.random.get_rng_state())
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_patch_of_weight_zero_is_never_drawn() -> None:
    defect = torch.cat([drawn(50, 4, shift=3.0), drawn(50, 5, shift=-3.0)])
    weight = torch.cat([torch.ones(50), torch.zeros(50)])
    nothing = torch.empty(0, WIDTH)
    head = fit_patch_head(TrainingPatches(drawn(2000, 1), nothing, defect, weight), 150, seed=5)
    with torch.inference_mode():
        assert head(drawn(200, 6, shift=3.0)).mean() > head(drawn(200, 6, shift=-3.0)).mean() + 1


def test_the_head_is_the_mean_of_networks_that_differ() -> None:
    head, patches = fitted(drawn(300, 4, shift=2.0)), drawn(100, 2)
    with torch.inference_mode():
        each = head.each(head.standardised(patches))
        assert torch.allclose(head(patches), each.mean(dim=1), atol=1e-5)
    assert each.shape[1] > 1
    assert float(each.std(dim=1).mean()) > 0.05
