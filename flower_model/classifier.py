"""FlowerClassifier: load a weights folder or Hub repository, name flowers, save again."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast, overload

import huggingface_hub
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config
from timm.models._hub import save_config_for_hf
from torch import nn

from flower_model.card import PICTURES, model_card
from flower_model.confidence import probabilities
from flower_model.config import ModelConfig, read_config
from flower_model.errors import FlowerModelError, ModelError
from flower_model.files import atomic_path
from flower_model.hub import download
from flower_model.hub_upload import upload
from flower_model.images import PhotoSource, open_image
from flower_model.runtime import TorchRuntime

logging.getLogger("timm").setLevel(logging.WARNING)  # "Loading pretrained weights…" is no news

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
FOLDER_FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, *PICTURES)  # all that a weights folder holds


@dataclass(frozen=True)
class Prediction:
    """What the model says about one photo.

    Attributes:
        top: (label, probability) pairs, best first; probabilities are calibrated, in [0, 1].
    """

    top: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.top[0][0]

    @property
    def probability(self) -> float:
        """Calibrated probability of `label`, in [0, 1]."""
        return self.top[0][1]


class FlowerClassifier(huggingface_hub.ModelHubMixin):
    """A timm network with its labels, transform and temperature.

    Example:
        >>> model = FlowerClassifier.from_pretrained("weights")
        >>> answer = model.predict("photo.jpg")
        >>> print(answer.label, answer.probability)
    """

    def __init__(
        self,
        network: nn.Module,
        config: ModelConfig,
        device: str | torch.device | None = None,
        *,
        pictures: Mapping[str, bytes] | None = None,
    ) -> None:
        self.config = config
        self.pictures = dict(pictures or {})  # of the model card: file name -> PNG
        self.runtime = TorchRuntime(network, device)
        data_config = resolve_data_config({}, model=network, use_test_size=True)
        self.image_size: int = data_config["input_size"][-1]  # side of the network's input, pixels
        self.crop: float = data_config["crop_pct"]  # its share of the photo's short side
        self.transform = create_transform(**data_config, is_training=False)

    @property
    def network(self) -> nn.Module:
        """The timm network, in evaluation mode."""
        return self.runtime.network

    @property
    def labels(self) -> list[str]:
        """Class names in the order of the network's outputs."""
        return list(self.config.labels)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # the mixin's **kwargs hide our options
        cls,
        model: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        device: str | torch.device | None = None,
    ) -> "FlowerClassifier":
        """Loads a weights folder, or a repository in timm's Hub layout from the Hugging Face Hub.

        Args:
            model: A folder with config.json and model.safetensors, or "user/repo".
            revision: Branch, tag or commit of the repository.
            token: Hub token for private repositories; by default the one saved by `hf auth login`.
            cache_dir: Where downloads are kept.
            local_files_only: Use only what is already in the cache.
            device: "cpu", "cuda", "mps", …; by default the fastest there is.

        Raises:
            ModelError: If the folder is missing, damaged or does not fit together.
            HubError: If the repository does not exist or can't be reached.
        """
        folder = Path(model)
        if not folder.is_dir():
            folder = download(
                str(model),
                (CONFIG_FILE, WEIGHTS_FILE),
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                offline=local_files_only,
            )
        config = read_config(folder / CONFIG_FILE)
        pictures = {n: (folder / n).read_bytes() for n in PICTURES if (folder / n).is_file()}
        return cls(_load_network(folder, config), config, device, pictures=pictures)

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is a sequence too; the first match wins
        self, photos: PhotoSource, *, top_k: int = 5
    ) -> Prediction: ...
    @overload
    def predict(
        self, photos: Sequence[PhotoSource], *, top_k: int = 5, batch_size: int = 32
    ) -> list[Prediction]: ...
    def predict(
        self,
        photos: PhotoSource | Sequence[PhotoSource],
        *,
        top_k: int = 5,
        batch_size: int = 32,
    ) -> Prediction | list[Prediction]:
        """Names the flower in one photo or in each of several.

        Args:
            photos: A path, bytes, PIL image or uint8 array (height, width, 3), or a list of them.
            top_k: How many labels to give, at least 1.
            batch_size: Photos in one pass through the network.

        Returns:
            One Prediction, or a list of them in the order given.

        Raises:
            ImageError: If a photo can't be opened.
        """
        if top_k < 1:
            raise FlowerModelError(f"top_k must be at least 1, not {top_k}.")
        if not isinstance(photos, list | tuple):
            return self._predict_batch([cast(PhotoSource, photos)], top_k)[0]
        answers: list[Prediction] = []
        for start in range(0, len(photos), batch_size):
            answers += self._predict_batch(photos[start : start + batch_size], top_k)
        return answers

    def _predict_batch(self, photos: Sequence[PhotoSource], top_k: int) -> list[Prediction]:
        batch = torch.stack([self.transform(open_image(photo)) for photo in photos])
        logits, _ = self.runtime(batch)  # (photos, classes)
        probs = probabilities(logits.numpy(), self.config.temperature)
        best = (-probs).argsort(axis=1)[:, :top_k]
        return [
            Prediction(tuple((self.config.labels[i], float(row[i])) for i in order))
            for row, order in zip(probs, best, strict=True)
        ]

    def save_pretrained(  # type: ignore[override]  # the mixin's own options have no meaning here
        self, save_directory: str | Path, *, repo_id: str = "", **_: Any
    ) -> None:
        """Writes a weights folder in timm's Hub layout: config.json, model.safetensors, README.md.

        Matrices are stored in 16 bits, vectors (batch norm, biases) in 32. Each file replaces
        its predecessor in one step; a README.md that is already there is kept.

        Args:
            save_directory: The folder; made if missing.
            repo_id: What the card's examples load, if the folder is on its way to the Hub.
        """
        folder = Path(save_directory)
        with atomic_path(folder / WEIGHTS_FILE) as temporary:
            save_file(_stored(self.network.state_dict()), temporary, metadata={"format": "pt"})
        with atomic_path(folder / CONFIG_FILE) as temporary:
            save_config_for_hf(self.network, str(temporary), model_config=self.config.to_timm())
            content = json.loads(temporary.read_text(encoding="utf-8"))
            # transformers passes these two itself and fails when model_args holds them as well.
            for key in ("num_classes", "in_chans"):
                content.get("model_args", {}).pop(key, None)
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
        for name, picture in self.pictures.items():
            with atomic_path(folder / name) as temporary:
                temporary.write_bytes(picture)
        if not (folder / CARD_FILE).exists():
            with atomic_path(folder / CARD_FILE) as temporary:
                card = model_card(self.config, repo_id, self.pictures)
                temporary.write_text(card, encoding="utf-8")

    def push_to_hub(  # type: ignore[override]  # the mixin's own options have no meaning here
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Upload a flower classifier",
    ) -> huggingface_hub.CommitInfo:
        """Makes one commit of this model in a repository of the Hugging Face Hub.

        Args:
            repo_id: "user/repo"; created if there is none.
            private: Whether a repository that is created is private; None: the owner's default.
            token: Hub token with write permission; by default the one saved by `hf auth login`.
            revision: Branch to commit to; made from the main branch if there is none.
            create_pr: Open a pull request instead.
            commit_message: Of the commit.

        Returns:
            The commit: its `commit_url`, `oid` and `pr_url`.

        Raises:
            HubError: If the Hub refuses or can't be reached; then there is no commit.

        Example:
            >>> model.push_to_hub("user/flowers", private=True)
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, repo_id=repo_id)
            return upload(
                repo_id,
                {file.name: file for file in Path(folder).iterdir()},
                message=commit_message,
                token=token,
                private=private,
                revision=revision,
                create_pr=create_pr,
            )


def _stored(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: (tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor)
        .cpu()
        .contiguous()
        for name, tensor in tensors.items()
    }


def _load_network(folder: Path, config: ModelConfig) -> nn.Module:
    weights = folder / WEIGHTS_FILE
    if not timm.is_model(config.architecture):
        raise ModelError(
            f"'{folder}' asks for the architecture '{config.architecture}', "
            f"which timm {timm.__version__} does not have."
        )
    try:
        tensors = load_file(weights)
    except FileNotFoundError:
        raise ModelError(f"'{folder}' holds no {WEIGHTS_FILE}: fetch the model again.") from None
    except (SafetensorError, OSError):
        raise ModelError(f"'{weights}' is damaged or cut short: fetch the model again.") from None
    try:
        network = timm.create_model(f"local-dir:{folder}", pretrained=False)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(f"timm can't build the model of '{folder}' ({error}).") from None

    expected = network.state_dict()
    for name, tensor in expected.items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            found = list(tensors[name].shape) if name in tensors else "nothing"
            raise ModelError(
                f"'{weights}' does not fit its config.json, which asks for {config.architecture} with "
                f"{len(config.labels)} labels: '{name}' should be {list(tensor.shape)} and is {found}."
            )
    unknown = sorted(set(tensors) - set(expected))
    if unknown:
        raise ModelError(f"'{weights}' holds '{unknown[0]}', unknown to {config.architecture}.")
    network.load_state_dict(tensors)
    return network
