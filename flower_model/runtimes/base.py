"""The interface that every runtime has: a batch of pixels in; logits, features and activation maps out."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np


class Outputs(NamedTuple):
    """What one pass gives for a batch of photos; all float32.

    Attributes:
        logits: (photos, classes).
        features: (photos, channels) of the last layer but one, pooled over the photo.
        maps: (photos, classes, height, width) class activation maps (Zhou et al. 2016): how much
            each place of the photo adds to a logit. Their mean over all places plus the head's
            bias is the logit. None where the head is not a linear layer after a global average.
    """

    logits: np.ndarray
    features: np.ndarray
    maps: np.ndarray | None


class Runtime(Protocol):
    """A network, ready to run.

    Attributes:
        name: What runs it, for people: "OpenVINO, bf16".
        data_config: What photos it takes, as `timm.data.resolve_data_config` says it.
    """

    name: str
    data_config: Mapping[str, Any]

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """Runs one pass; may be called from several threads.

        Args:
            pixels: (photos, height, width, 3) uint8 RGB, not normalised.
        """
