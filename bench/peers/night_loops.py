"""What others write for the same night, for `bench/night.py`: a folder of JPEGs through the models.

    python night_loops.py torch|anomalib FOLDER BATCH THREADS [NETWORKS]

Prints images/s as JSON, without the time to import and to load the models. `torch` is a DataLoader
of files and a loop over the product's own networks (pickled by the bench); `anomalib` is its
`Engine.predict` with its PatchCore on the same backbone, and needs anomalib 2.7.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import ml.models.torch_ops  # noqa: F401 - a CPU build of torch beside torchvision's wheel

# isort: split
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

SIZE = 224
BANK = 2000


class Files(Dataset):
    """Images of a folder, resized, float 0-255."""

    def __init__(self, folder: str) -> None:
        self.paths = sorted(Path(folder).glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.open(self.paths[index]).convert("RGB").resize((SIZE, SIZE))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def torch_loop(folder: str, batch: int, networks: str) -> Iterator[int | None]:
    """Every network on every batch; the scores are kept."""
    models = torch.load(networks, weights_only=False)
    loader = DataLoader(Files(folder), batch_size=batch, num_workers=1)
    scores = []
    yield None
    with torch.inference_mode():
        for images in loader:
            for model in models.values():
                found = model(images)
                first = found[0] if isinstance(found, tuple) else found
                scores.append(first.flatten(1).amax(dim=1) if first.ndim > 1 else first)
    yield len(loader.dataset)


def anomalib_loop(folder: str, batch: int) -> Iterator[int | None]:
    """anomalib's own prediction, as its documentation shows it."""
    from anomalib.data import PredictDataset
    from anomalib.engine import Engine
    from anomalib.models import Patchcore

    model = Patchcore(
        backbone="mobilenetv2_100",
        layers=["blocks.2", "blocks.4"],
        pre_trained=False,
        pre_processor=Patchcore.configure_pre_processor((SIZE, SIZE)),
        visualizer=False,
        evaluator=False,
    )
    features = model.model.feature_extractor(torch.rand(1, 3, SIZE, SIZE))
    width = sum(one.shape[1] for one in features.values())
    # As if it was fitted: the time does not hang on what is in the bank.
    model.model.memory_bank = torch.randn(BANK, width)
    dataset = PredictDataset(path=folder, image_size=(SIZE, SIZE))
    loader = DataLoader(dataset, batch_size=batch, num_workers=1, collate_fn=dataset.collate_fn)
    engine = Engine(logger=False, accelerator="cpu", enable_progress_bar=False)
    yield None
    engine.predict(model=model, dataloaders=loader, return_predictions=True)
    yield len(dataset)


def main() -> None:
    """Run one loop."""
    kind, folder, batch, threads, *rest = sys.argv[1:]
    torch.set_num_threads(int(threads))
    loop = (torch_loop if kind == "torch" else anomalib_loop)(folder, int(batch), *rest)
    next(loop)  # everything is loaded
    started, used = time.perf_counter(), cpu_seconds()
    count = next(loop)
    rates = {
        "images_per_s": count / (time.perf_counter() - started),
        "images_per_cpu_s": count / (cpu_seconds() - used),
    }
    print(json.dumps(rates))


def cpu_seconds() -> float:
    """Processor seconds of this process and of those of its loader that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


if __name__ == "__main__":
    main()
