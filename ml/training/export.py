"""Export to ONNX, and prove that ONNX Runtime gives the scores that torch gives."""

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from ml import files
from ml.errors import TrainingError
from ml.inference.engine import Floats, open_session, raw_score
from ml.models import classifier, patches, segmenter
from ml.settings.models import ModelName
from ml.training.graph import drop_unused, fold_padding

# Largest difference of a raw score that is accepted between torch and ONNX Runtime.
MAX_PARITY = 1e-3
_OPSET = 17

OUTPUTS: dict[ModelName, tuple[str, ...]] = {
    "classifier": classifier.OUTPUTS,
    "segmenter": segmenter.OUTPUTS,
    "anomaly": patches.OUTPUTS,
}


def export_onnx(
    model: nn.Module, outputs: tuple[str, ...], size: tuple[int, int], path: Path
) -> None:
    """Write one ONNX file: input `image` `[N, 3, H, W]`, any N, fixed size.

    Padding that follows from the size is written down as numbers.
    """
    model = model.eval().cpu()
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    temporary = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # The legacy exporter: 2-5 s and one file; the new one takes 31 s and writes two.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.rand(2, 3, *size) * 255,),
            str(temporary),
            input_names=["image"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in ("image", *outputs)},
            opset_version=_OPSET,
            dynamo=False,
        )
    exported = onnx.load(str(temporary))
    fold_padding(exported)
    drop_unused(exported)
    files.write_bytes(path, exported.SerializeToString(deterministic=True))
    temporary.unlink()


def named_outputs(model: ModelName, network: nn.Module, images: Tensor) -> dict[str, Floats]:
    """What a network gives for images `[N, 3, H, W]`, named as in its ONNX file."""
    with torch.inference_mode():
        found = network(images)
    tensors = found if isinstance(found, tuple) else (found,)
    return {
        name: tensor.cpu().numpy() for name, tensor in zip(OUTPUTS[model], tensors, strict=True)
    }


def raw_scores(model: ModelName, outputs: dict[str, Floats]) -> npt.NDArray[np.float64]:
    """The raw defect score of each image of a batch, computed as the night computes it."""
    count = len(next(iter(outputs.values())))
    return np.array([raw_score(model, outputs, index) for index in range(count)])


def check_parity(model: ModelName, network: nn.Module, path: Path, images: Tensor) -> float:
    """Largest difference of raw scores, torch against ONNX Runtime, one image at a time as well.

    Raises TrainingError above MAX_PARITY.
    """
    session = open_session(path)
    expected = raw_scores(model, named_outputs(model, network.eval().cpu(), images))

    def onnx_scores(batch: Floats) -> npt.NDArray[np.float64]:
        outputs = zip(OUTPUTS[model], session.run(None, {"image": batch}), strict=True)
        return raw_scores(model, dict(outputs))

    batch = images.contiguous().numpy()
    single = np.concatenate([onnx_scores(one[None]) for one in batch])
    found = max(np.abs(expected - onnx_scores(batch)).max(), np.abs(expected - single).max())
    if not found <= MAX_PARITY:
        msg = f"{path}: ONNX scores differ from torch by {found:.2e}, above {MAX_PARITY:.0e}"
        raise TrainingError(msg)
    return float(found)
