"""config.json of a weights folder as a checked dataclass."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flower_model.errors import ModelError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
PICTURES = {  # of the model card, beside it
    "training-curve.png": "Loss and accuracy of the held-out photos by epoch",
    "confusion-matrix.png": "Confusion matrix: which class was taken for which",
    "reliability.png": "Reliability: how often the answers of each stated probability were right",
}


@dataclass(frozen=True)
class ModelConfig:
    """What a weights folder says about its model, beyond what timm reads itself.

    Attributes:
        architecture: timm's name of the network, such as "resnet50".
        labels: Class names in the order of the network's outputs.
        descriptions: Label -> a longer description (here: the botanical name); may be empty.
        temperature: Logits are divided by it before the softmax; > 0, 1.0 changes nothing.
        details: What else stands under the file's `flower_model` key: recipe, metrics, data.
    """

    architecture: str
    labels: tuple[str, ...]
    descriptions: Mapping[str, str] = field(default_factory=dict)
    temperature: float = 1.0
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_timm(self) -> dict[str, Any]:
        """The keys that timm's saver adds to the config.json it writes."""
        return {
            "label_names": list(self.labels),
            "label_descriptions": dict(self.descriptions),
            "flower_model": {"temperature": self.temperature, **self.details},
        }


def read_config(path: Path | str) -> ModelConfig:
    """Reads and checks a config.json in timm's Hub layout.

    Raises:
        ModelError: If it is missing, no JSON, or its parts do not fit together.
    """
    path = Path(path)
    content = _read(path)
    labels = _labels(content, path)
    descriptions = content.get("label_descriptions") or {}
    if not isinstance(descriptions, dict):
        raise ModelError(f"label_descriptions in '{path}' must map labels to texts.")
    details = content.get("flower_model") or {}
    if not isinstance(details, dict):
        raise ModelError(f"flower_model in '{path}' must be a JSON object.")
    details = dict(details)
    if not isinstance(details.get("rejection", {}), dict):
        raise ModelError(f"flower_model.rejection in '{path}' must be a JSON object.")
    temperature = details.pop("temperature", 1.0)
    if (
        not isinstance(temperature, int | float)
        or not math.isfinite(temperature)
        or temperature <= 0
    ):
        raise ModelError(f"The temperature in '{path}' must be a number above 0.")
    return ModelConfig(
        architecture=_architecture(content, path),
        labels=labels,
        descriptions={str(label): str(text) for label, text in descriptions.items()},
        temperature=float(temperature),
        details=details,
    )


def read_architecture(path: Path | str) -> str:
    """The architecture that a config.json in timm's Hub layout names, whatever else it holds.

    Raises:
        ModelError: If it is missing, no JSON or names none.
    """
    return _architecture(_read(Path(path)), Path(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"'{path.parent}' holds no config.json: it is no model folder.") from None
    except (OSError, ValueError):
        raise ModelError(f"'{path}' is not readable JSON: fetch the model again.") from None
    if not isinstance(content, dict):
        raise ModelError(f"'{path}' must hold a JSON object: fetch the model again.")
    return content


def _architecture(content: dict[str, Any], path: Path) -> str:
    architecture = content.get("architecture")
    if not isinstance(architecture, str) or not architecture:
        raise ModelError(f"'{path}' names no architecture: it must be in timm's Hub layout.")
    return architecture


def _labels(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = content.get("label_names", (content.get("pretrained_cfg") or {}).get("label_names"))
    if names is None:
        names = _imagenet_labels(content.get("num_classes"))
    if isinstance(names, dict):  # timm also allows {"0": name, …}
        try:
            names = [names[str(index)] for index in range(len(names))]
        except KeyError:
            raise ModelError(f"label_names in '{path}' has gaps in its numbering.") from None
    if not isinstance(names, list) or not names:
        raise ModelError(f"'{path}' has no label_names, so its answers would have no names.")
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ModelError(f"label_names in '{path}' must be texts that differ from each other.")
    num_classes = content.get("num_classes", len(names))
    if num_classes != len(names):
        raise ModelError(
            f"'{path}' has {len(names)} label_names but num_classes is {num_classes}: "
            "they must be the same."
        )
    return tuple(names)


def _imagenet_labels(num_classes: Any) -> list[str] | None:
    """timm's ImageNet models leave their labels out, since timm knows them by their number."""
    from timm.data import ImageNetInfo, infer_imagenet_subset  # seconds, and rarely needed

    subset = infer_imagenet_subset({"num_classes": num_classes})
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    names = info.label_descriptions()
    twice = {name for name, count in Counter(names).items() if count > 1}
    return [
        f"{name} ({synset})" if name in twice else name
        for name, synset in zip(names, info.label_names(), strict=True)
    ]
