"""The part of config.json that reaches timm: preprocessing and a few bounded model arguments."""

import math
from collections.abc import Mapping
from typing import Any

from flower_model.errors import ModelError, shorten

MAX_SIDE = 1024  # pixels; timm's largest models take 800

# The keys that locate weights (url, file, hf_hub_id, state_dict, custom_load) are dropped on purpose:
# timm would download them from anywhere, or unpickle them.
SIZES = ("input_size", "test_input_size", "min_input_size")  # (channels, height, width)
POOLS = ("pool_size", "test_pool_size")
FRACTIONS = ("crop_pct", "test_crop_pct")
TEXTS = (
    *("interpolation", "crop_mode", "tag", "license", "description"),
    *("origin_url", "paper_name", "paper_ids"),
)
LAYERS = ("first_conv", "classifier")

# Arguments that barely change the size of a model.
MODEL_ARGS = (
    *("num_classes", "in_chans", "img_size", "global_pool", "class_token", "dynamic_img_size"),
    *("dynamic_img_pad", "drop_rate", "drop_path_rate", "proj_drop_rate", "attn_drop_rate"),
)


def pretrained_cfg(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a config.json's `pretrained_cfg` that are known to be harmless.

    Raises:
        ModelError: If a value has the wrong type or is out of bounds.
    """
    given = content.get("pretrained_cfg") or {}
    if not isinstance(given, dict):
        raise ModelError(
            "config.json's pretrained_cfg must be a JSON object. Download the model again."
        )
    checks = {
        **dict.fromkeys(SIZES, lambda value: _is_list(value, 3, 1, MAX_SIDE, int)),
        **dict.fromkeys(POOLS, lambda value: _is_list(value, 2, 1, MAX_SIDE, int)),
        **dict.fromkeys(FRACTIONS, lambda value: _is_number(value, 0.1, 1)),
        "mean": lambda value: _is_list(value, 3, -10, 10),
        "std": lambda value: _is_list(value, 3, 1e-3, 1000),
        **dict.fromkeys(TEXTS, _is_text),
        **dict.fromkeys(LAYERS, lambda value: _is_text(value) or _is_texts(value)),
        "fixed_input_size": lambda value: isinstance(value, bool),
    }
    _check_channels(given.get("input_size"), content.get("model_args"))
    known = {key: value for key, value in given.items() if key in checks and value is not None}
    for key, value in known.items():
        if not checks[key](value):
            raise ModelError(
                f"config.json has an invalid {key} in pretrained_cfg: {shorten(repr(value))}. "
                "Correct it, or download the model again."
            )
    return known


def _check_channels(input_size: Any, args: Any) -> None:
    channels = args.get("in_chans") if isinstance(args, dict) else None
    if channels is None and isinstance(input_size, list) and input_size:
        channels = input_size[0]
    if isinstance(channels, int) and channels != 3:
        raise ModelError(
            f"The model takes images with {shorten(channels)} channels. Only models for colour "
            "photos (3 channels) can be used."
        )


def model_args(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for timm's `create_model` in a config.json's `model_args`.

    Raises:
        ModelError: If an argument could change the size of the model beyond its architecture.
    """
    given = content.get("model_args") or {}
    if not isinstance(given, dict):
        raise ModelError(
            "config.json's model_args must be a JSON object. Download the model again."
        )
    for key, value in given.items():
        if key not in MODEL_ARGS or not _is_allowed(key, value):
            raise ModelError(
                f"config.json sets {shorten(repr(key))} = {shorten(repr(value))} in model_args, "
                "which is not allowed. Choose a model without it."
            )
    return {
        k: v for k, v in given.items() if k not in ("num_classes", "in_chans") and v is not None
    }


def _is_allowed(key: str, value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if key == "global_pool":
        return _is_text(value)
    if key == "img_size":
        return _is_number(value, 1, MAX_SIDE) or _is_list(value, 2, 1, MAX_SIDE, int)
    low, high = {"in_chans": (3, 3), "num_classes": (1, 1_000_000)}.get(key, (0, 1))
    return _is_number(value, low, high)


def _is_list(value: Any, length: int, low: float, high: float, kind: type = object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == length
        and all(isinstance(x, kind) and _is_number(x, low, high) for x in value)
    )


def _is_number(value: Any, low: float, high: float) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return low <= value <= high and (isinstance(value, int) or math.isfinite(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 1000


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 10 and all(map(_is_text, value))
