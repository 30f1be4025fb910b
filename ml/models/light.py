"""One light for all images, as part of the network, so that exposures of a part look alike."""

from torch import Tensor
from torch.nn import functional

from ml.settings.models import Light

# "gain": the mean grey level, and the darkest mean that is still brightened as much as it needs.
_GREY = 110.0
_DARKEST = 8.0

# "even": mean and deviation, and the least deviation that is stretched: noise of a blank is not.
_EVEN_GREY = 127.0
_EVEN_SPREAD = 40.0
_FLATTEST = 8.0

# "local": the window's side in pixels; grey levels that the local mean becomes, that the local
# deviation becomes at most, and that keep even surfaces from turning into noise.
_WINDOW = 31
_LOCAL_GREY = 110.0
_LOCAL_SPREAD = 40.0
_LOCAL_EVEN = 10.0


def same_light(image: Tensor, light: Light) -> Tensor:
    """Images `[N, 3, H, W]`, 0-255, in one light: of the whole image, or of each place of it.

    "gain" gives one mean, "even" one mean and one deviation, "local" both at each place.
    """
    match light:
        case "as_is":
            return image
        case "gain":
            mean = image.mean(dim=(1, 2, 3), keepdim=True).clamp(min=_DARKEST)
            return (image * (_GREY / mean)).clamp(max=255)
        case "even":
            return _even(image)
        case "local":
            return _local(image)


def _even(image: Tensor) -> Tensor:
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    spread = (image - mean).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    even = (image - mean) / spread.clamp(min=_FLATTEST) * _EVEN_SPREAD + _EVEN_GREY
    return even.clamp(min=0, max=255)


def _local(image: Tensor) -> Tensor:
    """Images `[N, 3, H, W]`, 0-255, with the local mean taken out and the local contrast evened.

    Mean and deviation of the grey level over a square window; at the border only what is inside
    counts (after Jarrett et al., ICCV 2009). All channels change alike, so colours stay.
    """
    grey = image.mean(dim=1, keepdim=True)
    mean = _window_mean(grey)
    variance = (_window_mean(grey.square()) - mean.square()).clamp(min=0)
    gain = _LOCAL_SPREAD / ((variance + 1e-3).sqrt() + _LOCAL_EVEN)
    return ((image - mean) * gain + _LOCAL_GREY).clamp(0, 255)


def _window_mean(values: Tensor) -> Tensor:
    # Rows, then columns: 62 terms for a pixel instead of 961.
    half = _WINDOW // 2
    rows = functional.avg_pool2d(
        values, (_WINDOW, 1), stride=1, padding=(half, 0), count_include_pad=False
    )
    return functional.avg_pool2d(
        rows, (1, _WINDOW), stride=1, padding=(0, half), count_include_pad=False
    )
