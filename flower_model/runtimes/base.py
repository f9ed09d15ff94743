"""Interface of a runtime: a batch of pixels in; logits, features and class activation maps out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np

from flower_model.errors import FlowerModelError

Precision = Literal["auto", "int8", "bf16", "fp32"]


@dataclass(frozen=True)
class Compute:
    """Device and precision of forward passes.

    Attributes:
        device: "cpu", "cuda", "mps", …; None selects the fastest available.
        precision: Precision of matrix products; "auto" selects the fastest that the device supports
            and, for int8, for which the model is quantized.

    Raises:
        FlowerModelError: If there is no such precision.
    """

    device: str | None = None
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise FlowerModelError(
                f"Unknown precision '{self.precision!s:.40}': "
                f"choose {', '.join(get_args(Precision)[:-1])} or {get_args(Precision)[-1]}."
            )


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
        name: Library, device and precision for display, such as "OpenVINO on cpu, bf16".
        compute: The device and precision in use; never None or "auto".
        num_classes: Number of logits per photo; None if unknown.
        data_config: Input size and normalisation in the format of `timm.data.resolve_data_config`.
    """

    name: str
    compute: Compute
    num_classes: int | None
    data_config: Mapping[str, Any]

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """Run a forward pass. Thread-safe.

        Args:
            pixels: (photos, height, width, 3) uint8 RGB, not normalised.
        """
