"""config.json of a weights folder as a checked dataclass."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flower_model.errors import ImageError, ModelError, is_printable, shorten
from flower_model.photos.decode import open_image
from flower_model.system.files import atomic_path, read_at_most

CONFIG_FILE = "config.json"
MAX_BYTES = 10_000_000  # of config.json; with the 21,841 labels of ImageNet-21k it takes 2 MB
MAX_LABEL, MAX_DESCRIPTION = 200, 1000  # characters
TEMPERATURES = (0.001, 1000.0)
WEIGHTS_FILE = "model.safetensors"
PICTURES = {  # plots that the model card embeds: file name -> alternative text
    "training-curve.png": "Loss and accuracy on the held-out photos by epoch",
    "confusion-matrix.png": "Confusion matrix: true classes against predicted classes",
    "reliability.png": "Reliability diagram: accuracy against predicted probability",
}


@dataclass(frozen=True)
class ModelConfig:
    """The settings in config.json that this package reads beyond those timm reads itself.

    Attributes:
        architecture: The timm model name, such as "resnet50".
        labels: Class names in the order of the model's outputs.
        descriptions: Label -> longer description, here the botanical name; may be empty.
        taxonomy: Label -> (genus, family); the genus is "" where a class mixes several. May be empty.
        aliases: Other name -> label, such as the name of the class in its data set; may be empty.
        temperature: Divisor of the logits before the softmax, > 0; 1.0 leaves them unchanged.
        details: Other entries under the file's `flower_model` key: recipe, metrics, data.
    """

    architecture: str
    labels: tuple[str, ...]
    descriptions: Mapping[str, str] = field(default_factory=dict)
    taxonomy: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    temperature: float = 1.0
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_timm(self) -> dict[str, Any]:
        """Return the keys to pass to timm's saver as `model_config`."""
        names = {"taxonomy": dict(self.taxonomy), "aliases": dict(self.aliases)}
        return {
            "label_names": list(self.labels),
            "label_descriptions": dict(self.descriptions),
            "flower_model": {
                "temperature": self.temperature,
                **{key: value for key, value in names.items() if value},
                **self.details,
            },
        }


def read_config(path: Path | str) -> ModelConfig:
    """Read and validate a config.json in timm's Hub layout.

    Raises:
        ModelError: If the file is missing, not JSON or inconsistent.
    """
    content = read_content(Path(path))
    name = shorten(path, 120)
    details = _mapping(content, "flower_model", name)
    for key in ("rejection", "quantization"):
        _mapping(details, f"flower_model.{key}", name)
    temperature = details.pop("temperature", 1.0)
    is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not is_number or not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:
        raise ModelError(
            f"The temperature in '{name}' must be a number above 0, between "
            f"{TEMPERATURES[0]:g} and {TEMPERATURES[1]:g}."
        )
    form = f"map labels to strings of at most {MAX_DESCRIPTION} printable characters"
    descriptions = _mapping(content, "label_descriptions", name, form, _is_description)
    form = "map labels to [genus, family]"
    taxonomy = _mapping(details, "flower_model.taxonomy", name, form, _is_taxon)
    form = "map names to labels"
    aliases = _mapping(details, "flower_model.aliases", name, form, _is_description)
    return ModelConfig(
        architecture=_architecture(content, name),
        labels=_labels(content, name),
        descriptions=descriptions,
        taxonomy={label: (genus, family) for label, (genus, family) in taxonomy.items()},
        aliases=aliases,
        temperature=float(temperature),
        details={k: v for k, v in details.items() if k not in ("taxonomy", "aliases")},
    )


def read_pictures(folder: Path) -> dict[str, bytes]:
    """Return the model card's plots in a weights folder as file name -> content, not checked."""
    found = {}
    for name in PICTURES:
        with suppress(OSError):
            found[name] = read_at_most(folder / name, MAX_BYTES)
    return found


def valid_pictures(pictures: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return those plots, as file name -> content, that are valid PNG files."""
    found = {}
    for name, content in pictures.items():
        with suppress(ImageError):
            open_image(content)
            if content.startswith(b"\x89PNG") and len(content) <= MAX_BYTES:
                found[name] = content
    return found


def read_architecture(path: Path | str) -> str:
    """Return the architecture named in a config.json without validating the rest of the file.

    Raises:
        ModelError: If the file is missing, not JSON or names no architecture.
    """
    return _architecture(read_content(Path(path)), shorten(path, 120))


def write_content(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the config.json of a weights folder atomically."""
    with atomic_path(folder / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_content(path: Path) -> dict[str, Any]:
    """Return the unvalidated content of a config.json, in the layout that timm writes today.

    Raises:
        ModelError: If the file is missing, too large, not a JSON object, or of a transformers model.
    """
    name = shorten(path, 120)
    try:
        data = read_at_most(path, MAX_BYTES)
        if len(data) > MAX_BYTES:
            raise ModelError(f"'{name}' is larger than {MAX_BYTES // 1_000_000} MB.")
        content = json.loads(data.decode("utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"'{shorten(path.parent, 120)}' is not a model folder: it has no config.json."
        ) from None
    except (OSError, ValueError, RecursionError):  # RecursionError: deeply nested brackets
        raise ModelError(f"'{name}' is not valid JSON. Download the model again.") from None
    if not isinstance(content, dict):
        raise ModelError(f"'{name}' must be a JSON object. Download the model again.")
    if "model_type" in content and "architecture" not in content:
        raise ModelError(
            f"'{name}' belongs to a transformers model ({shorten(content['model_type'])}), which timm "
            "can't load. Use a model in timm's layout, such as those of hf.co/timm."
        )
    if "pretrained_cfg" not in content:  # timm's first layout had all keys on one level
        content["pretrained_cfg"] = dict(content)
    return content


def is_valid_label(name: Any) -> bool:
    """Return True for a non-empty string without control characters, which a terminal would obey."""
    return isinstance(name, str) and 0 < len(name) <= MAX_LABEL and is_printable(name)


def _architecture(content: dict[str, Any], name: str) -> str:
    architecture = content.get("architecture")
    if not isinstance(architecture, str) or not architecture.isprintable() or not architecture:
        raise ModelError(
            f"'{name}' has no architecture key, so it is not in timm's Hub layout. Use a model "
            "in that layout, such as those of hf.co/timm."
        )
    return architecture


def _labels(content: dict[str, Any], name: str) -> tuple[str, ...]:
    inner = content.get("pretrained_cfg")
    keys = {**(inner if isinstance(inner, dict) else {}), **content}  # in timm, the outer keys win
    names = keys.get("label_names") or keys.get("labels")
    if names is None:
        names = _imagenet_labels(keys.get("num_classes"))
    if isinstance(names, dict):  # timm also accepts {"0": name, …}
        try:
            names = [names[str(index)] for index in range(len(names))]
        except KeyError:
            raise ModelError(
                f"label_names in '{name}' must be numbered from 0 without gaps."
            ) from None
    if not isinstance(names, list) or not names:
        raise ModelError(f"'{name}' has no label_names. Add a list with one name per output.")
    if not all(map(is_valid_label, names)) or len(set(names)) < len(names):
        raise ModelError(
            f"label_names in '{name}' must be distinct strings of at most {MAX_LABEL} "
            "printable characters."
        )
    num_classes = keys.get("num_classes")
    if num_classes not in (None, len(names)):
        raise ModelError(
            f"'{name}' has {len(names)} label_names but num_classes is {str(num_classes)[:20]}. "
            "The two must agree."
        )
    return tuple(names)


def _mapping(
    content: Mapping[str, Any],
    key: str,
    name: str,
    form: str = "be a JSON object",
    is_valid: Callable[[Any], bool] = lambda _: True,
) -> dict[str, Any]:
    """Return a copy of the JSON object under the last part of a dotted key, {} if there is none."""
    values = content.get(key.rpartition(".")[2])
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(map(is_valid, values.values())):
        raise ModelError(f"{key} in '{name}' must {form}.")
    return dict(values)


def _is_description(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= MAX_DESCRIPTION and is_printable(text)


def _is_taxon(taxon: Any) -> bool:
    return isinstance(taxon, list) and len(taxon) == 2 and all(map(_is_description, taxon))


def _imagenet_labels(num_classes: Any) -> list[str] | None:
    """Return timm's names for an ImageNet class count; timm's own models omit label_names."""
    if not isinstance(num_classes, int):
        return None
    # slow to import, rarely needed
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": num_classes})
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    names = info.label_descriptions()
    synsets: list[str] = info.label_names()  # type: ignore[no-untyped-call]  # timm has no types here
    ambiguous = {name for name, count in Counter(names).items() if count > 1}
    return [
        f"{name} ({synset})" if name in ambiguous else name
        for name, synset in zip(names, synsets, strict=True)
    ]
