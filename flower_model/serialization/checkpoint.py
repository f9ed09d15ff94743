"""Stored tensors matched to the state dict of a timm model."""

import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from timm.models import model_entrypoint
from torch import nn

# Added by DistributedDataParallel, torch.compile, Lightning and transformers.
WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.", "timm_model.")
KINDS: dict[object, str] = {
    **dict.fromkeys(("F16", "BF16", "F32", "F64"), "float"),
    **dict.fromkeys((torch.float16, torch.bfloat16, torch.float32, torch.float64), "float"),
    **dict.fromkeys(("I32", "I64", torch.int32, torch.int64), "integer"),
}
# Resampling a patch embedding takes memory in proportion to the square of its kernel's area.
MAX_KERNEL = 64


class Stored(NamedTuple):
    """Shape and data type of a stored tensor."""

    shape: list[int]
    dtype: object  # a torch.dtype, or its name in a safetensors file

    @property
    def kind(self) -> str:
        """ "float", "integer", or the data type if it is not supported."""
        return KINDS.get(self.dtype, str(self.dtype))


def strip_wrappers(names: Iterable[str], network: nn.Module) -> dict[str, str]:
    """Return the stored names with the network's names, without prefixes of wrapper modules."""
    expected = network.state_dict().keys()
    stripped = {}
    for name in names:
        target = name
        while target not in expected and target.startswith(WRAPPER_PREFIXES):
            target = target.partition(".")[2]
        stripped[name] = target
    return stripped


def find_mismatch(stored: Mapping[str, Stored], network: nn.Module, num_labels: int) -> str | None:
    """Return the first difference between stored tensors and the network's, or None.

    Counters of batch norm layers may be missing; they affect training only.
    """
    expected = network.state_dict()
    for name, tensor in expected.items():
        shape = list(tensor.shape)
        if name not in stored:
            if name.endswith(".num_batches_tracked"):
                continue
            return f"'{name}' is missing"
        found = stored[name]
        if found.shape != shape:
            is_head = found.shape[1:] == shape[1:] and shape[:1] == [num_labels]
            if is_head and found.shape:
                return f"'{name}' has {found.shape[0]} outputs for {num_labels} labels"
            return f"'{name}' has the shape {found.shape} instead of {shape}"
        if found.kind != ("float" if tensor.is_floating_point() else "integer"):
            return f"'{name}' has the unsupported data type {found.kind}"
    unknown = sorted(stored.keys() - expected.keys())
    return f"'{unknown[0]}' is not part of the model" if unknown else None


def convert_checkpoint(
    tensors: Mapping[str, torch.Tensor], network: nn.Module, architecture: str
) -> dict[str, torch.Tensor] | None:
    """Convert a checkpoint with timm's own rules for the architecture.

    These rename layers of older versions and original implementations, drop buffers that the model
    computes, and resize position embeddings.

    Args:
        tensors: The checkpoint.
        network: The model to convert to; may be on the meta device.
        architecture: timm's name of the model.

    Returns:
        The converted checkpoint, or None if timm has no rules or they fail.
    """
    module = sys.modules[model_entrypoint(architecture).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
    kernels = [t.shape[2:] for name, t in tensors.items() if t.ndim > 3 and name.endswith("weight")]
    if not convert or any(max(kernel) > MAX_KERNEL for kernel in kernels):
        return None
    try:
        converted = convert(dict(tensors), network)
    except (ArithmeticError, AssertionError, AttributeError, LookupError):
        return None
    except (RuntimeError, TypeError, ValueError):
        return None
    return dict(converted)
