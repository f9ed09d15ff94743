"""Class activation maps (Zhou et al. 2016) rendered as heatmaps to overlay on a photo."""

import numpy as np
from PIL import Image

# Magma at equal steps. Its lightness increases monotonically, so the order of the colours is visible
# with any type of colour vision and in greyscale.
COLOURMAP = (
    (0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122),
    (229, 80, 100), (251, 135, 97), (254, 194, 135), (252, 253, 191),
)  # fmt: skip
OPACITY = (0.45, 0.60, 0.75)  # from no evidence to the most; above 0 to dim the rest of the photo


def render_heatmap(activation: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Render a class activation map as a semi-transparent overlay for the network's input.

    Args:
        activation: (height, width) float, the contribution of each position to the logit of one
            class. Negative values, evidence against the class, are clipped to 0.
        size: (width, height) of the result in pixels.

    Returns:
        An RGBA image, dark where there is no evidence for the class and light where there is most.

    Example:
        >>> pixels = model.photo_transform.to_pixels(open_image("photo.jpg"))
        >>> picture = Image.fromarray(pixels)
        >>> layer = render_heatmap(model.runtime(pixels[None]).maps[0, 3], picture.size)
        >>> picture.paste(layer, mask=layer)
    """
    evidence = np.clip(np.asarray(activation, dtype=np.float32), 0.0, None)
    evidence *= 255 / max(float(evidence.max(initial=0.0)), 1e-6)
    smooth = Image.fromarray(evidence).resize(size, Image.Resampling.BICUBIC)
    return Image.fromarray(_PALETTE[np.asarray(smooth).clip(0, 255).astype(np.uint8)])


def _palette() -> np.ndarray:
    steps = np.linspace(0.0, 1.0, 256)
    stops = np.linspace(0.0, 1.0, len(COLOURMAP))
    channels = [np.interp(steps, stops, channel) for channel in zip(*COLOURMAP, strict=True)]
    channels.append(255 * np.interp(steps, np.linspace(0.0, 1.0, len(OPACITY)), OPACITY))
    return np.stack(channels, axis=1).round().astype(np.uint8)  # (256, 4) RGBA


_PALETTE = _palette()
