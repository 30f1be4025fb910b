"""anomalib's PatchCore on arrays, for `bench/anomaly.py`. Runs in an environment with anomalib 2.7.

    python anomalib_patchcore.py STEM

Reads STEM.train.npy, STEM.test.npy (uint8 `[N, H, W, 3]`) and STEM.json; writes STEM.npz.

Its own model and coreset, fed directly: no Lightning, no data loader, so it loses no time there.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import ml.models.torch_ops  # noqa: F401 - a CPU build of torch beside torchvision's wheel

# isort: split
import numpy as np
import timm
import torch
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from safetensors.torch import load_file

BATCH = 16


def kilobytes(field: str) -> int:
    """`VmHWM` (peak) or `VmRSS` (now) of this process."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return int(dict(row.split(":", 1) for row in rows)[field].split()[0])


def build(options: dict) -> PatchcoreModel:
    """The model with the line's own backbone, padding and weights."""
    strides = options["strides"]
    padding = {"pad_type": "same"} if options["pad_same"] else {}
    probe = timm.create_model(options["backbone"], features_only=True)
    layers = [probe.feature_info.reduction().index(stride) for stride in strides]
    model = PatchcoreModel(layers=layers, backbone=options["backbone"], pre_trained=False)
    backbone = timm.create_model(
        options["backbone"], features_only=True, out_indices=layers, **padding
    )
    found = {
        name.replace(".", "_"): tensor for name, tensor in load_file(options["weights"]).items()
    }
    wanted = {
        name: found[name.replace(".", "_")]
        for name in backbone.state_dict()
        if not name.endswith("num_batches_tracked")
    }
    backbone.load_state_dict(wanted, strict=False)
    model.feature_extractor.feature_extractor = backbone.eval()
    return model


def main() -> None:
    """Fit on the good images, score the test images, write scores, maps and figures."""
    stem = sys.argv[1]
    options = json.loads(Path(f"{stem}.json").read_text())
    torch.set_num_threads(options["threads"])
    torch.manual_seed(options["seed"])
    train, test = (np.load(f"{stem}.{name}.npy", mmap_mode="r") for name in ("train", "test"))
    mean, std = (torch.tensor(options[key]).view(1, 3, 1, 1) for key in ("mean", "std"))

    def batch(pixels: np.ndarray) -> torch.Tensor:
        return (torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 255 - mean) / std

    model = build(options)
    before = kilobytes("VmRSS")
    started = time.perf_counter()
    model.train()
    with torch.no_grad():
        for start in range(0, len(train), BATCH):
            model(batch(train[start : start + BATCH]))
        patches = sum(len(one) for one in model.embedding_store)
        embedded = time.perf_counter()
        model.subsample_embedding((options["bank"] + 0.5) / patches)
    fitted = time.perf_counter()
    peak = kilobytes("VmHWM")
    model.eval()
    scores, maps, single = [], [], []
    with torch.no_grad():
        for start in range(0, len(test), BATCH):
            found = model(batch(test[start : start + BATCH]))
            scores.append(found.pred_score.flatten().numpy())
            maps.append(found.anomaly_map[:, 0].numpy().astype(np.float16))
        scored = time.perf_counter()
        for image in test[:20]:
            begun = time.perf_counter()
            model(batch(image[None]))
            single.append(time.perf_counter() - begun)
    figures = {
        "fit_s": fitted - started,
        "embed_s": embedded - started,
        "peak_mb": peak / 1024,
        "extra_mb": (peak - before) / 1024,
        "score_ms": float(np.median(single)) * 1000,
        "images_per_s": len(test) / (scored - fitted),
        "bank": len(model.memory_bank),
    }
    np.savez(
        f"{stem}.npz",
        scores=np.concatenate(scores),
        maps=np.concatenate(maps),
        figures=json.dumps(figures),
    )


if __name__ == "__main__":
    main()
