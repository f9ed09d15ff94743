"""Interface of a runtime: a batch of pixels in; logits, features and class activation maps out."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np


class Outputs(NamedTuple):
    """Outputs of a forward pass over a batch of photos; all arrays are float32.

    Attributes:
        logits: (photos, classes).
        features: (photos, channels) pooled output of the penultimate layer.
        maps: (photos, classes, height, width) class activation maps (Zhou et al. 2016): the
            contribution of each position to a logit. The mean over all positions plus the head's
            bias equals the logit. None unless the head is a linear layer after global average
            pooling.
    """

    logits: np.ndarray
    features: np.ndarray
    maps: np.ndarray | None


class Runtime(Protocol):
    """A network that is loaded and ready for inference.

    Attributes:
        name: Library, device and precision for display, such as "OpenVINO, bf16".
        data_config: Input size and normalisation in the format of `timm.data.resolve_data_config`.
    """

    name: str
    data_config: Mapping[str, Any]

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """Run a forward pass. Thread-safe.

        Args:
            pixels: (photos, height, width, 3) uint8 RGB, not normalised.
        """
