"""Local contrast normalisation, as part of the network: what CLAHE does, in ONNX operators."""

from torch import Tensor
from torch.nn import functional

# Side of the window, in pixels of the model's input.
_WINDOW = 31
# Grey levels: that the local mean becomes, that the local deviation becomes at most, and that
# keep even surfaces from turning into noise.
_GREY = 110.0
_SPREAD = 40.0
_EVEN = 10.0


def local_contrast(image: Tensor) -> Tensor:
    """Images `[N, 3, H, W]`, 0-255, with the local mean taken out and the local contrast evened.

    Mean and deviation of the grey level over a square window; at the border only what is inside
    counts (after Jarrett et al., ICCV 2009). All channels change alike, so colours stay.
    """
    grey = image.mean(dim=1, keepdim=True)
    mean = _window_mean(grey)
    variance = (_window_mean(grey.square()) - mean.square()).clamp(min=0)
    gain = _SPREAD / ((variance + 1e-3).sqrt() + _EVEN)
    return ((image - mean) * gain + _GREY).clamp(0, 255)


def _window_mean(values: Tensor) -> Tensor:
    # Rows, then columns: 62 terms for a pixel instead of 961.
    half = _WINDOW // 2
    rows = functional.avg_pool2d(
        values, (_WINDOW, 1), stride=1, padding=(half, 0), count_include_pad=False
    )
    return functional.avg_pool2d(
        rows, (1, _WINDOW), stride=1, padding=(0, half), count_include_pad=False
    )
