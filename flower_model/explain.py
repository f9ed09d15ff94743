"""What the model looked at: a class activation map as heat over the photo (Zhou et al. 2016)."""

import numpy as np
from PIL import Image

# Magma's colours at equal steps: lightness only rises, so the order of the colours is seen with any
# kind of colour vision and in black and white.
HEAT_COLOURS = (
    (0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122),
    (229, 80, 100), (251, 135, 97), (254, 194, 135), (252, 253, 191),
)  # fmt: skip
OPACITY = (0.45, 0.60, 0.75)  # from none to the most heat: what is not looked at steps back


def heat(activation: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """A class activation map as a picture to be laid over what the network saw of the photo.

    Args:
        activation: (height, width) float, what each place adds to the logit of one class; places
            that speak against it, below 0, count as nothing.
        size: (width, height) of the result in pixels.

    Returns:
        An RGBA picture, dark where nothing speaks for the class and light where the most does.

    Example:
        >>> pixels = model.photo_transform.to_pixels(open_image("photo.jpg"))
        >>> seen = Image.fromarray(pixels)
        >>> layer = heat(model.runtime(pixels[None]).maps[0, 3], seen.size)
        >>> seen.paste(layer, mask=layer)
    """
    evidence = np.clip(np.asarray(activation, dtype=np.float32), 0.0, None)
    evidence *= 255 / max(float(evidence.max(initial=0.0)), 1e-6)
    smooth = Image.fromarray(evidence).resize(size, Image.Resampling.BICUBIC)
    return Image.fromarray(_PALETTE[np.asarray(smooth).clip(0, 255).astype(np.uint8)])


def _palette() -> np.ndarray:
    steps = np.linspace(0.0, 1.0, 256)
    stops = np.linspace(0.0, 1.0, len(HEAT_COLOURS))
    channels = [np.interp(steps, stops, channel) for channel in zip(*HEAT_COLOURS, strict=True)]
    channels.append(255 * np.interp(steps, np.linspace(0.0, 1.0, len(OPACITY)), OPACITY))
    return np.stack(channels, axis=1).round().astype(np.uint8)  # (256, 4) RGBA


_PALETTE = _palette()
