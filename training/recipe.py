"""A training run described by one small TOML file: data, model and schedule."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flower_model.errors import RecipeError, shorten

RECIPES = Path(__file__).parent / "recipes"

ImageSize = Annotated[int, Field(ge=32, le=2048)]  # side of the square input in pixels
Label = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """The photos, as a list of sources for each purpose.

    A source is "flowers102:train|val|test", "FOLDER:train|val|test" or "hf://datasets/user/name:train|val";
    see `training.data.sources.source_photos`.
    """

    train: tuple[str, ...] = Field(min_length=1)
    val: tuple[str, ...] = Field(min_length=1)
    test: tuple[str, ...] = ()
    """Sources on which the finished model is evaluated once. They have no influence on the model unless
    `calibrate` lists them too."""
    calibrate: tuple[str, ...] = ()
    """Sources that are added to `val` when the temperature and the rejection rule are fitted."""
    credits: tuple[str, ...] = ()
    """Descriptions of the data sets and their licences, for the model card."""
    stream: bool = False
    """Read the training photos from their shards in every epoch instead of copying them to disk once: see
    `training.data.streaming`."""
    datasets: tuple[str, ...] = ()
    """Hub datasets ("user/dataset") that contain the photos, for the model card's metadata."""
    rename: dict[str, Label] = {}
    """Class name in the data -> label of the model. Classes with the same label are merged."""
    balance: float = Field(0.5, ge=0, le=1)
    """Sampling weight of a photo: (number of photos of its class in its source) ** -balance. 0 keeps the
    natural frequencies, 1 draws every class of every source equally often."""
    negatives: tuple[str, ...] = ()
    """Folders of non-flower photos. Half of them, chosen by hash, serve as backgrounds and as outliers with a
    uniform target (outlier exposure, Hendrycks et al. 2019); the rejection rule is fitted to the other half."""
    other_flowers: tuple[str, ...] = ()
    """Folders of flowers of other species, each in a folder of its own. Half of the species serve as outliers,
    like negatives; the known-species rule is fitted to the other half."""
    negative_fraction: float = Field(0.1, ge=0, lt=1)
    """Fraction of an epoch's samples that are negatives or other species, if there are any."""
    val_fraction: float = Field(0.2, gt=0, le=0.5)
    """Fraction held out for validation from flowers102-all and from a folder without a val/ folder."""
    split_seed: int = Field(0, ge=0, lt=2**32)
    """Seed of that split. It is separate from the recipe's `seed`, so that runs with different seeds hold
    out the same photos and can be compared and averaged."""


class Model(_Section):
    """The architecture and the weights it starts from."""

    architecture: str = "resnet50"
    pretrained: str = "timm/resnet50.a1_in1k"
    """A timm tag, a Hub repository in timm's layout or a weights folder; "" is random initialisation."""
    license: str = ""
    """The Hub's identifier of the finished model's licence, such as "apache-2.0", for the model card."""
    test_size: ImageSize = 224
    """Input size of the finished model in pixels (the side of the square)."""
    crop: float = Field(0.875, gt=0, le=1)
    """Size of the centre crop relative to the short side of the photo (timm's `crop_pct`)."""


class Probe(_Section):
    """The linear probe, which initialises the head before fine-tuning."""

    image_size: ImageSize = 144
    l2: float = Field(0.1, gt=0)
    """L2 penalty per photo, on standardised features."""


class Finetune(_Section):
    """Fine-tuning of all layers that are not frozen."""

    epochs: int = Field(ge=0)
    """0 skips fine-tuning: the model is the linear probe."""
    batch_size: int = Field(32, ge=1)
    """Photos per optimizer step, over all processes; fewer if an epoch has less than four batches."""
    min_steps: int = Field(24, ge=1)
    """Minimum number of steps in an epoch: few photos are drawn repeatedly."""
    accumulate: int = Field(1, ge=1)
    """Gradient accumulation: number of parts that a batch is divided into. Saves memory, same step."""
    sync_batch_norm: bool = False
    """Synchronise batch norm statistics across processes; GPUs only."""
    image_sizes: tuple[ImageSize, ...] = Field((160,), min_length=1)
    """Sizes of the training crops in pixels; the epochs are divided evenly among them, in this order."""
    freeze: int = Field(0, ge=0)
    """Number of layer groups to freeze, counted from the input: 1 freezes the stem of a ResNet, 3 the stem
    and the first two stages."""
    batch_norm: Literal["train", "frozen"] = "train"
    """Use batch statistics ("train") or keep the running statistics of pretraining ("frozen")."""
    augment: Literal["crop-flip-colour", "centre-crop-flip"] = "crop-flip-colour"
    min_crop: float = Field(0.35, gt=0, le=1)
    """Smallest area of a random resized crop, as a fraction of the photo."""
    colour_jitter: float = Field(0.3, ge=0)
    rand_augment: str = ""
    """A timm policy, such as "rand-m7-n2-mstd0.5"; replaces `colour_jitter`."""
    random_erasing: float = Field(0.0, ge=0, le=1)
    zoom_out: float = Field(0.0, ge=0, le=1)
    """Probability of shrinking a photo onto a background: one of `data.negatives`, or else its own blur."""
    tile: float = Field(0.0, ge=0, le=1)
    """Probability of tiling a photo: a 2 × 2 or 3 × 3 grid of random crops of it."""
    degrade: float = Field(0.0, ge=0, le=1)
    """Probability of degrading a photo: thumbnail resolution, blur and JPEG artefacts."""
    mixup: float = Field(0.0, ge=0)
    cutmix: float = Field(0.0, ge=0)
    mix_probability: float = Field(0.5, ge=0, le=1)
    """Probability that mixup or cutmix is applied to a batch; their alphas are the two keys above."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    optimizer: str = "adamw"
    lr: float = Field(gt=0)
    """Learning rate of the head; a layer k levels below it gets lr * layer_decay ** k."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    weight_decay: float = Field(0.05, ge=0)
    clip_grad: float = Field(0.0, ge=0)
    """Maximum gradient norm; 0 disables clipping."""
    scheduler: Literal["cosine", "step"] = "cosine"
    warmup_epochs: float = Field(0.5, ge=0)
    step_epochs: float = Field(7, gt=0)
    """Epochs between two divisions of the learning rate by ten, with scheduler = "step"."""
    ema_decay: float = Field(0.998, ge=0, lt=1)
    """Decay per step of the EMA of the weights, which is validated and saved; 0 disables the EMA."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    keep: Literal["best", "last"] = "best"
    """The epoch to save: the one with the best held-out accuracy, or the last one."""

    @property
    def has_style(self) -> bool:
        """True if training photos change their style; calibration photos then do, too."""
        return bool(self.zoom_out or self.tile or self.degrade)

    def size_of(self, epoch: int) -> int:
        """Return the size of the training crops in pixels in an epoch, counted from 0."""
        return self.image_sizes[epoch * len(self.image_sizes) // self.epochs]


class Recipe(_Section):
    """A training run."""

    name: str = Field(pattern=r"^[^./\\][^/\\]*$")
    """Also the name of the run's folder."""
    data: Data
    model: Model = Model()
    probe: Probe | Literal[False] = Probe()
    """false leaves the head randomly initialised."""
    finetune: Finetune
    seed: int = Field(0, ge=0, le=40_000)
    """Seed of the initialisation, the sampling and the augmentation."""


def load_recipe(name: str, changes: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe by name (a file in training/recipes/) or by path, and apply changes to it.

    Args:
        name: "flowers5", …, or the path of a .toml file.
        changes: Nested values that replace those of the file, such as {"finetune": {"epochs": 2}}.

    Raises:
        RecipeError: If the recipe does not exist or has an unknown key or an invalid value.
    """
    content = merge(_read(name), changes or {})
    content.setdefault("name", Path(name).stem)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise RecipeError(
                f"Recipe '{shorten(name)}' has no key '{shorten(key)}'. Check the spelling; "
                "training/recipe.py lists all keys."
            ) from None
        raise RecipeError(
            f"Recipe '{shorten(name)}', key '{shorten(key)}': {shorten(first['msg'], 150)}."
        ) from None
    if not recipe.probe and not recipe.finetune.epochs:
        raise RecipeError(
            f"Recipe '{shorten(name)}' trains nothing: set finetune.epochs above 0 or enable the probe."
        )
    return recipe


def parse_change(text: str) -> dict[str, Any]:
    """Parse "finetune.epochs=2" into {"finetune": {"epochs": 2}}; the value is TOML.

    Raises:
        RecipeError: If the text is not a TOML key and value.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise RecipeError(
            f"'{shorten(text)}' is not KEY=VALUE: write it like finetune.epochs=2, or with quotes "
            "around text, like finetune.optimizer='sgd'."
        ) from None


def recipe_names() -> str:
    """Return the names of the recipes in training/recipes/, for messages."""
    return ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))


def _read(name: str) -> dict[str, Any]:
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecipeError(
            f"Recipe '{shorten(path)}' is not valid TOML: {shorten(error, 100)}."
        ) from None
    except OSError:
        raise RecipeError(
            f"There is no recipe '{shorten(name)}'. Choose one of {recipe_names()}, or give the path "
            "of a .toml file."
        ) from None
    base = content.pop("base", None)
    return merge(_read(str(base)), content) if base else content


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` applied to it at every level of nesting."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged
