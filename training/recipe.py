"""A training run as one small file: which photos, which network, which schedule."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flower_model.errors import RecipeError

RECIPES = Path(__file__).parent / "recipes"

Side = Annotated[int, Field(ge=32, le=2048)]  # of a square photo, pixels
Label = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """Which photos. A source is "flowers102:train|val|test" or "FOLDER:train|val"."""

    train: tuple[str, ...] = Field(min_length=1)
    val: tuple[str, ...] = Field(min_length=1)
    test: tuple[str, ...] = ()
    """Sources that the finished model is measured on; they choose nothing unless `calibrate` names them too."""
    calibrate: tuple[str, ...] = ()
    """Sources, of test or others, that fit temperature and rejection rule together with val."""
    credits: tuple[str, ...] = ()
    """For the model card: what the photos are and under which licence."""
    stream: bool = False
    """Whether the training photos are read from shards in each epoch, instead of once: see stream.py."""
    datasets: tuple[str, ...] = ()
    """For the model card: those of the photos that the Hub holds, as "user/dataset"."""
    rename: dict[str, Label] = {}
    """Class name in the data -> label of the model; equal labels merge."""
    balance: float = Field(0.5, ge=0, le=1)
    """A photo is drawn as often as (size of its class) ** -balance says: 0 as counted, 1 all classes equal."""
    val_fraction: float = Field(0.2, gt=0, le=0.5)
    """Share held out of flowers102-all and of a folder that has no train/ and val/ inside."""
    split_seed: int = Field(0, ge=0, lt=2**32)
    """Chooses what is held out there. Runs that differ in the recipe's seed alone, which draws all the
    rest, hold out the same photos, so that they can be compared and averaged."""


class Model(_Section):
    """Which network, and where its first weights come from."""

    architecture: str = "resnet50"
    pretrained: str = "timm/resnet50.a1_in1k"
    """A timm tag, a Hub repository in timm's layout or a folder; "" starts from random weights."""
    license: str = ""
    """For the model card: the Hub's name of the finished model's licence, such as "apache-2.0"."""
    test_size: Side = 224
    """Side in pixels of the square that the finished model looks at."""
    crop: float = Field(0.875, gt=0, le=1)
    """The square's share of the photo's short side."""


class Probe(_Section):
    """The linear probe that sets the head before the other layers move."""

    image_size: Side = 144
    l2: float = Field(0.1, gt=0)
    """Weight of the squared weights in the probe's loss, per photo, on standardised features."""


class Finetune(_Section):
    """The epochs in which all layers move."""

    epochs: int = Field(ge=0)
    """Passes over the photos; after none the model is the linear probe."""
    batch_size: int = Field(32, ge=1)
    """Photos in a step, of all processes together."""
    accumulate: int = Field(1, ge=1)
    """In how many parts, one after the other, a step's photos pass: less memory, the same step."""
    sync_batch_norm: bool = False
    """Whether batch norm's statistics are of all processes' photos; on GPUs only."""
    image_sizes: tuple[Side, ...] = Field((160,), min_length=1)
    """Sides in pixels of the training crops; the epochs are shared out among them in this order."""
    freeze: int = Field(0, ge=0)
    """How many of the network's first groups of layers stay as they are: of a ResNet the stem is 1,
    the stem and its first two stages are 3."""
    batch_norm: Literal["train", "frozen"] = "train"
    """Whether batch norm takes its statistics from each batch, or keeps those of pretraining."""
    augment: Literal["crop-flip-colour", "centre-crop-flip"] = "crop-flip-colour"
    min_crop: float = Field(0.35, gt=0, le=1)
    """Smallest share of a photo's area that a random crop may take."""
    colour_jitter: float = Field(0.3, ge=0)
    rand_augment: str = ""
    """timm's notation, such as "rand-m7-n2-mstd0.5"; replaces colour_jitter."""
    random_erasing: float = Field(0.0, ge=0, le=1)
    mixup: float = Field(0.0, ge=0)
    cutmix: float = Field(0.0, ge=0)
    mix_probability: float = Field(0.5, ge=0, le=1)
    """Share of the batches that mixup or cutmix, with these alphas, blends."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    optimizer: str = "adamw"
    lr: float = Field(gt=0)
    """Learning rate of the head; a layer k steps below it gets lr * layer_decay ** k."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    weight_decay: float = Field(0.05, ge=0)
    clip_grad: float = Field(0.0, ge=0)
    """Largest norm of the gradient; 0 leaves it as it is."""
    scheduler: Literal["cosine", "step"] = "cosine"
    warmup_epochs: float = Field(0.5, ge=0)
    step_epochs: float = Field(7, gt=0)
    """With scheduler = "step": the rate falls to a tenth after every so many epochs."""
    ema_decay: float = Field(0.998, ge=0, lt=1)
    """Decay a step of the weights' running average, which is what is validated and kept; 0: none."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    keep: Literal["best", "last"] = "best"
    """Which epoch becomes the model: the best on the held-out photos, or the last one."""

    def size_of(self, epoch: int) -> int:
        """Side in pixels of the training crops in an epoch, counted from 0."""
        return self.image_sizes[epoch * len(self.image_sizes) // self.epochs]


class Recipe(_Section):
    """A whole run."""

    name: str = Field(pattern=r"^[^./\\][^/\\]*$")
    """Of the run's folder too."""
    data: Data
    model: Model = Model()
    probe: Probe | Literal[False] = Probe()
    """false leaves the head as it was initialised."""
    finetune: Finetune
    seed: int = Field(0, ge=0, le=40_000)
    """Of all that is drawn."""


def load_recipe(name: str, changes: dict[str, Any] | None = None) -> Recipe:
    """Reads a recipe by name (a file in training/recipes/) or by path, with changes applied.

    Args:
        name: "flowers5", …, or the path of a .toml file.
        changes: Nested values that replace the file's, such as {"finetune": {"epochs": 2}}.

    Raises:
        RecipeError: If there is no such recipe or it holds an unknown key or a bad value.
    """
    content = merge(_read(name), changes or {})
    content.setdefault("name", Path(name).stem)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise RecipeError(f"Recipe '{name}' has an unknown key '{key}': remove it.") from None
        raise RecipeError(f"Recipe '{name}', key '{key}': {first['msg']}.") from None
    if not recipe.probe and not recipe.finetune.epochs:
        raise RecipeError(f"Recipe '{name}' trains nothing: give it epochs or a probe.")
    return recipe


def parse_change(text: str) -> dict[str, Any]:
    """Turns "finetune.epochs=2" into {"finetune": {"epochs": 2}}; the value is written as in TOML.

    Raises:
        RecipeError: If it has another form.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise RecipeError(
            f"'{text}' is no setting: write it like finetune.epochs=2 or data.rename={{a='b'}}."
        ) from None


def _read(name: str) -> dict[str, Any]:
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError):
            raise RecipeError(f"Recipe '{path}' is not valid TOML ({error}).") from None
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise RecipeError(f"There is no recipe '{name}': choose one of {known}.") from None
    base = content.pop("base", None)
    return merge(_read(str(base)), content) if base else content


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested values with others put over them, at every depth."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged
