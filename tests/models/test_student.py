"""The student learns what the teacher sees in good images, and nothing else teaches it."""

import pytest
import torch
from torch import Tensor

from ml.models.student import StudentTeacher
from ml.settings.models import AnomalyConfig, BackboneConfig

SIDE = 64
BACKBONE = BackboneConfig(name="test_resnet", weights="none")
CONFIG = AnomalyConfig(method="student_teacher", size=(SIDE, SIDE), top_share=0.01)


def plates(count: int, seed: int, scratch: bool = False) -> Tensor:
    """Grey noise `[count, 3, SIDE, SIDE]`; with `scratch` a bright bar."""
    generator = torch.Generator().manual_seed(seed)
    images = 100 + 30 * torch.rand(count, 3, SIDE, SIDE, generator=generator)
    if scratch:
        images[:, :, 20:44, 29:35] = 220
    return images


def contrast(model: StudentTeacher) -> float:
    """How much hotter the map is on the bar than on good plates."""
    with torch.inference_mode():
        good, bad = model(plates(16, 2))[1], model(plates(16, 3, scratch=True))[1]
    scale = SIDE // good.shape[2]
    inside = bad[:, :, 20 // scale : 44 // scale, 28 // scale : 36 // scale]
    return float(inside.mean() - good.mean())


@pytest.fixture(scope="module")
def taught() -> tuple[StudentTeacher, list[float]]:
    """A model after a few steps on good plates, and its loss at each."""
    model = StudentTeacher(BACKBONE, CONFIG, seed=1)
    optimiser = torch.optim.SGD(model.student.parameters(), lr=0.4, momentum=0.9)
    losses = []
    for step in range(40):
        model.student.train()
        loss = model.loss(plates(8, 100 + step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return model.eval(), losses


def test_the_loss_falls_and_only_a_taught_student_sees_defects(
    taught: tuple[StudentTeacher, list[float]],
) -> None:
    model, losses = taught
    assert losses[0] > 1
    assert sum(losses[-5:]) / 5 < losses[0] / 4
    assert contrast(model) > 0.8
    assert abs(contrast(StudentTeacher(BACKBONE, CONFIG, seed=1))) < 0.2


def test_the_map_is_hottest_where_the_defect_is(
    taught: tuple[StudentTeacher, list[float]],
) -> None:
    with torch.inference_mode():
        found = taught[0](plates(1, 4, scratch=True))[1][0, 0]
    row, column = divmod(int(found.argmax()), found.shape[1])
    scale = SIDE // found.shape[0]
    assert 16 <= row * scale <= 48
    assert 24 <= column * scale <= 40


def test_the_map_orders_places_as_the_product_over_the_levels_does(
    taught: tuple[StudentTeacher, list[float]],
) -> None:
    image = plates(2, 5, scratch=True)
    with torch.inference_mode():
        levels = taught[0].distances(image)
        score, found, _ = taught[0](image)
    size = found.shape[2:]
    product = torch.ones_like(found)
    for one in levels:
        product *= torch.nn.functional.interpolate(one, size=size, mode="bilinear")
    torch.testing.assert_close(found * len(levels), product.log(), rtol=1e-3, atol=1e-3)
    assert torch.all(score <= found.flatten(1).amax(1))


def test_the_teacher_is_not_taught(taught: tuple[StudentTeacher, list[float]]) -> None:
    before = StudentTeacher(BACKBONE, CONFIG, seed=1).teacher.state_dict()
    for name, tensor in taught[0].teacher.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_teacher_and_student_are_no_twins_where_both_start_from_random_numbers() -> None:
    model = StudentTeacher(BACKBONE, CONFIG, seed=1)
    with torch.inference_mode():
        assert all(float(one.mean()) > 0.1 for one in model.distances(plates(2, 6)))


def test_the_strides_are_those_of_the_paper_unless_the_line_names_others() -> None:
    assert CONFIG.strides == (4, 8, 16)
    assert AnomalyConfig(method="student_teacher", strides=(8,)).strides == (8,)
    assert AnomalyConfig().strides == (8, 16)
