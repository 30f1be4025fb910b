"""Train the student of a student-teacher model on good images."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ml.data.dataset import Dataset
from ml.models.student import StudentTeacher
from ml.settings import Home, LineConfig
from ml.training.device import placed
from ml.training.enough import require_good
from ml.training.loop import Fitted, Task, fit
from ml.training.pixels import bytes_in_memory, chunks, load_pixels, steps_per_epoch, to_tensor
from ml.training.preflight import fitting_batch

# As in the paper; the learning rate is a key of the line.
_SGD = partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-4)
# Good images of validation that choose the epoch: more cost time and change little.
_HELD_OUT = 256


def fit_student(
    home: Home, line: LineConfig, dataset: Dataset, checkpoint: Path, threads: int
) -> tuple[StudentTeacher, Fitted]:
    """Train on the good training images; the epoch that repeats held-out good ones best is kept.

    Where validation has no good image, the training images choose it. The paper's loss, optimiser
    and selection by held-out good images; its constant learning rate is the peak of a warm-up and a
    cosine here, for lines that train for fewer than its 100 epochs.
    Raises TrainingError when there are too few good images or their features break the training.
    """
    config = line.anomaly
    good = require_good(line, dataset)
    held_out = [one for one in dataset.split("validation") if not one.is_defect] or good
    held_out = held_out[:: -(-len(held_out) // _HELD_OUT)]
    model = placed(StudentTeacher(line.backbone_of("anomaly"), config, line.seed))
    held = sum(bytes_in_memory(len(some), config.size, masks=False) for some in (good, held_out))
    batch = fitting_batch(model, config, len(good), held)
    train, validation = (
        load_pixels(home, some, config.size, masks=False, threads=threads)
        for some in (good, held_out)
    )
    steps, no_target = steps_per_epoch(len(good), batch), torch.empty(0)

    def batches(random: np.random.Generator) -> Iterable[tuple[Tensor, Tensor]]:
        order = random.permutation(len(good))
        for number in range(steps):
            chosen = order[number * batch : (number + 1) * batch]
            yield to_tensor(train.images[chosen]), no_target

    def loss(images: Tensor, _: Tensor) -> Tensor:
        return model.loss(images)

    def validate() -> float:
        losses = [float(model.loss(images)) * len(images) for images in chunks(validation)]
        return sum(losses) / len(held_out)

    fitted = fit(
        # The student alone trains: the teacher's batch norm must stay as it is.
        Task(model.student, batches, batch, steps, loss, validate, optimiser=_SGD),
        stage="train student",
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        seed=line.seed,
        checkpoint=checkpoint,
    )
    return model, fitted
