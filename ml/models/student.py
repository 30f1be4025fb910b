"""A student that learns a frozen teacher's features of good parts: STFPM (Wang et al., BMVC 2021,
arXiv:2103.04257). Where it fails to, the part is unlike those it was taught on.

The map is the paper's product over the levels, on a logarithmic scale: the order is the same, and
scores of about one are easier to calibrate than products of small numbers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.models.backbones import Normalise, create_pyramid
from ml.models.light import same_light
from ml.models.patches import mean_of_top
from ml.settings.models import AnomalyConfig, BackboneConfig

# Half a squared distance of unit vectors below this is rounding.
_LEAST = 1e-5


class StudentTeacher(nn.Module):
    """The line's backbone as teacher, and the same network from random weights as student.

    The teacher stays as it is: in evaluation mode, without gradients.
    """

    def __init__(self, backbone: BackboneConfig, config: AnomalyConfig, seed: int) -> None:
        super().__init__()
        self.light = config.light
        self.top_share = config.top_share
        self.normalise = Normalise(backbone)
        strides, size = config.strides, config.size
        self.teacher = create_pyramid(backbone, seed, strides, size).requires_grad_(False)
        # Another seed: a teacher without weights would be the student's twin.
        untaught = backbone.model_copy(update={"weights": "none"})
        self.student = create_pyramid(untaught, seed + 1, strides, size)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image score `[N]`, map `[N, 1, h, w]`, embedding `[N, K]` of the teacher."""
        levels, embedding = self._compared(image)
        size = levels[0].shape[2:]
        logs = [
            functional.interpolate(one, size=size, mode="bilinear", align_corners=False)
            .clamp(min=_LEAST)
            .log()
            for one in levels
        ]
        found = torch.stack(logs).mean(dim=0)
        return mean_of_top(found.flatten(1), self.top_share), found, embedding

    def distances(self, image: Tensor) -> list[Tensor]:
        """Half the squared distance of the unit feature vectors at each level, `[N, 1, h, w]`."""
        return self._compared(image)[0]

    def loss(self, image: Tensor) -> Tensor:
        """Equation 2 of the paper: the mean distance of each level, summed over the levels."""
        return torch.stack([one.mean() for one in self.distances(image)]).sum()

    def _compared(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        inputs = self.normalise(same_light(image, self.light))
        with torch.no_grad():
            taught = self.teacher(inputs)
        levels = [
            (functional.normalize(one) - functional.normalize(other)).square().sum(1, True) / 2
            for one, other in zip(taught, self.student(inputs), strict=True)
        ]
        return levels, taught[-1].mean(dim=(2, 3))
