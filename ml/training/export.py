"""Export to ONNX, and prove that ONNX Runtime gives the scores that torch gives."""

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ml import files
from ml.errors import TrainingError
from ml.inference.engine import TOP_SHARE, open_session
from ml.models.classifier import class_scores
from ml.models.segmenter import mask_scores
from ml.settings.line import ModelName

# Largest difference of a raw score that is accepted between torch and ONNX Runtime.
MAX_PARITY = 1e-3
_OPSET = 17


def export_onnx(
    model: nn.Module, outputs: tuple[str, ...], size: tuple[int, int], path: Path
) -> None:
    """Write one ONNX file: input `image` `[N, 3, H, W]`, any N, fixed size."""
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
    files.write_bytes(path, temporary.read_bytes())
    temporary.unlink()


def raw_scores(kind: ModelName, outputs: tuple[Tensor, ...]) -> Tensor:
    """The raw defect score of each image from a model's outputs."""
    if kind == "classifier":
        return class_scores(outputs[0])
    if kind == "segmenter":
        return mask_scores(outputs[0], TOP_SHARE)
    return outputs[0]


def check_parity(kind: ModelName, model: nn.Module, path: Path, images: Tensor) -> float:
    """Largest difference of raw scores, torch against ONNX Runtime, one image at a time as well.

    Raises TrainingError above MAX_PARITY.
    """
    session = open_session(path)
    with torch.inference_mode():
        expected = raw_scores(kind, as_tuple(model.eval().cpu()(images))).numpy()

    def onnx_scores(batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        found = raw_scores(kind, tuple(map(torch.from_numpy, session.run(None, {"image": batch}))))
        return found.numpy()

    batch = images.contiguous().numpy()
    whole = onnx_scores(batch)
    single = [onnx_scores(one[None]) for one in batch]
    found = max(np.abs(expected - whole).max(), np.abs(expected - np.concatenate(single)).max())
    if not found <= MAX_PARITY:
        msg = f"{path}: ONNX scores differ from torch by {found:.2e}, above {MAX_PARITY:.0e}"
        raise TrainingError(msg)
    return float(found)


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The outputs of a model that may have a single one."""
    return outputs if isinstance(outputs, tuple) else (outputs,)
