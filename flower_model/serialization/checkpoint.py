"""Stored tensors matched to the state dict of a timm model."""

import sys
from collections.abc import Mapping

import torch
from timm.models import model_entrypoint
from torch import nn

# Added by DistributedDataParallel, torch.compile, Lightning and transformers.
WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.", "timm_model.")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.int32, torch.int64)
# Resampling a patch embedding takes memory in proportion to the square of its kernel's area.
MAX_KERNEL = 64


def strip_wrappers(
    tensors: Mapping[str, torch.Tensor], network: nn.Module
) -> dict[str, torch.Tensor]:
    """Return the tensors under the network's names, without prefixes of wrapper modules."""
    expected = network.state_dict().keys()
    stripped = {}
    for name, tensor in tensors.items():
        while name not in expected and name.startswith(WRAPPER_PREFIXES):
            name = name.partition(".")[2]
        stripped[name] = tensor
    return stripped


def find_mismatch(
    tensors: Mapping[str, torch.Tensor], network: nn.Module, num_labels: int
) -> str | None:
    """Return the first difference between stored tensors and the network's, or None.

    Counters of batch norm layers may be missing; they affect training only.
    """
    expected = network.state_dict()
    for name, tensor in expected.items():
        shape = list(tensor.shape)
        if name not in tensors:
            if name.endswith(".num_batches_tracked"):
                continue
            return f"'{name}' is missing"
        found, dtype = list(tensors[name].shape), tensors[name].dtype
        if found != shape:
            if found and found[1:] == shape[1:] and shape[:1] == [num_labels]:  # the head
                return f"'{name}' has {found[0]} outputs for {num_labels} labels"
            return f"'{name}' has the shape {found} instead of {shape}"
        if dtype not in (FLOATS if tensor.is_floating_point() else INTEGERS):
            return f"'{name}' has the unsupported data type {dtype}"
    unknown = sorted(tensors.keys() - expected.keys())
    return f"'{unknown[0]}' is not part of the model" if unknown else None


def convert_checkpoint(
    tensors: Mapping[str, torch.Tensor], network: nn.Module, architecture: str
) -> dict[str, torch.Tensor] | None:
    """Convert a checkpoint with timm's own rules for the architecture.

    These rename layers of older versions and original implementations, drop buffers that the model
    computes, and resize position embeddings.

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
    except Exception:  # noqa: BLE001  # one of timm's many functions, on untrusted tensors
        return None
    return dict(converted)
