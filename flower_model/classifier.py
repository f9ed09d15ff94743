"""FlowerClassifier: load a weights folder or Hub repository, name flowers, save again."""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import huggingface_hub
import numpy as np

from flower_model.config import CONFIG_FILE, ModelConfig, read_config, read_pictures
from flower_model.errors import ImageError
from flower_model.photos.decode import PhotoSource, open_image
from flower_model.photos.prefetch import stream
from flower_model.photos.transform import PhotoTransform
from flower_model.prediction import Prediction, check_at_least_one, read_outputs
from flower_model.rejection import Rejection, load_rejection
from flower_model.runtimes.base import Outputs, Runtime
from flower_model.runtimes.selection import choose_runtime, openvino_if_possible
from flower_model.serialization.weights_folder import FOLDER_FILES, find_folder, write_folder

if TYPE_CHECKING:  # torch takes seconds to import, and the answers may come without it
    import torch
    from torch import nn

Photo = TypeVar("Photo", bound=PhotoSource)


class FlowerClassifier(huggingface_hub.ModelHubMixin):
    """A timm network with its labels, transform and temperature.

    Example:
        >>> model = FlowerClassifier.from_pretrained("weights")
        >>> answer = model.predict("photo.jpg")
        >>> print(answer.label, answer.probability)
    """

    def __init__(
        self,
        network: "nn.Module | Callable[[], nn.Module]",
        config: ModelConfig,
        device: "str | torch.device | None" = None,
        *,
        runtime: Runtime | None = None,
        rejection: Rejection | None = None,
        pictures: Mapping[str, bytes] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Puts a network and its labels together; `from_pretrained` is the usual way.

        Args:
            network: A timm network, or what makes it once it is asked for.
            config: Labels, temperature and what else is known of it.
            device: "cpu", "cuda", "mps", …; by default the fastest there is.
            runtime: What runs the network; by default PyTorch on `device`.
            rejection: The rule that says whether there is a flower at all.
            pictures: Of the model card: file name -> PNG.
            folder: The weights folder that all this comes from.
        """
        if rejection is None and "rejection" in config.details:  # nor speaks of one, once saved
            details = {k: v for k, v in config.details.items() if k != "rejection"}
            config = replace(config, details=details)
        self.config = config
        self.rejection = rejection
        self.pictures = dict(pictures or {})
        self.folder = folder
        self._network = network
        if runtime is None:
            from flower_model.runtimes.pytorch import TorchRuntime

            runtime = TorchRuntime(self.network, device)
        self.runtime = runtime
        self.photo_transform = PhotoTransform.from_data_config(runtime.data_config)
        self.image_size = self.photo_transform.size[1]  # side of the network's input, pixels
        self.crop = self.photo_transform.crop  # its share of the photo's short side

    @property
    def network(self) -> "nn.Module":
        """The timm network, in evaluation mode; loaded when first asked for."""
        from torch import nn

        if not isinstance(self._network, nn.Module):
            self._network = self._network().eval()
        return self._network

    @cached_property
    def transform(self) -> Any:
        """timm's own transform, from a PIL image to the network's normalised input."""
        from timm.data import create_transform

        return create_transform(**self.runtime.data_config, is_training=False)

    @property
    def labels(self) -> list[str]:
        """Class names in the order of the network's outputs."""
        return list(self.config.labels)

    # These take other options than the mixin's: what has no meaning here is an error, not ignored.

    @classmethod
    def from_pretrained(  # type: ignore[override]  # no force_download, no **model_kwargs
        cls,
        model: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        runtime: Literal["auto", "torch", "openvino"] = "auto",
        device: "str | torch.device | None" = None,
    ) -> "FlowerClassifier":
        """Loads a weights folder, or a repository in timm's Hub layout from the Hugging Face Hub.

        Args:
            model: A folder with config.json and model.safetensors, or "user/repo".
            revision: Branch, tag or commit of the repository.
            token: Hub token for private repositories; by default the one saved by `hf auth login`.
            cache_dir: Where downloads are kept.
            local_files_only: Use only what is already in the cache.
            runtime: What runs the network: "torch", "openvino" (CPU only) or the faster of them.
            device: "cpu", "cuda", "mps", …; by default the fastest there is.

        Raises:
            FlowerModelError: If the runtime or the device can't be had here.
            ModelError: If the folder is missing, damaged or does not fit together.
            HubError: If the repository does not exist or can't be reached.
        """
        chosen = choose_runtime(runtime, device)
        folder = find_folder(
            model, revision=revision, token=token, cache_dir=cache_dir, offline=local_files_only
        )
        config = read_config(folder / CONFIG_FILE)
        known: dict[str, Any] = {
            "rejection": load_rejection(folder) if "rejection" in config.details else None,
            "pictures": read_pictures(folder),
            "folder": folder,
        }

        def load() -> "nn.Module":
            from flower_model.serialization.network import load_network

            return load_network(folder, config)

        if chosen == "openvino":
            ready = openvino_if_possible(folder, config, required=runtime == "openvino")
            if ready:
                return cls(load, config, runtime=ready, **known)
        return cls(load(), config, device, **known)

    @overload
    def predict(self, photos: PhotoSource, *, top_k: int = 5) -> Prediction: ...
    @overload
    def predict(
        self, photos: list[Photo] | tuple[Photo, ...], *, top_k: int = 5, batch_size: int = 32
    ) -> list[Prediction]: ...
    def predict(
        self,
        photos: PhotoSource | list[Photo] | tuple[Photo, ...],
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
        if not isinstance(photos, list | tuple):
            check_at_least_one(top_k=top_k)
            return self._answer(self.to_pixels(photos)[None], top_k)[0]
        answers: list[Prediction] = []
        with closing(self.predict_stream(photos, top_k=top_k, batch_size=batch_size)) as stream:
            for answer in stream:
                if isinstance(answer, ImageError):
                    raise answer
                answers.append(answer)
        return answers

    def predict_stream(
        self, photos: Iterable[PhotoSource], *, top_k: int = 5, batch_size: int = 32
    ) -> Generator[Prediction | ImageError]:
        """Names the flower in each of any number of photos, in constant memory.

        Threads open the next photos while the network works; at most three batches are taken
        from `photos` ahead of what was asked for. Closing the generator ends its threads.

        Args:
            photos: Paths, bytes, PIL images or uint8 arrays, from a list, a generator or the like.
            top_k: How many labels to give, at least 1.
            batch_size: Photos in one pass through the network, at least 1.

        Returns:
            A generator that yields for each photo, in the order given, its Prediction, or the
            ImageError that says why it can't be opened.

        Example:
            >>> paths = Path("photos").rglob("*.jpg")
            >>> for answer in model.predict_stream(paths):
            ...     print(answer if isinstance(answer, ImageError) else answer.label)
        """
        check_at_least_one(top_k=top_k, batch_size=batch_size)
        answer = partial(self._answer, top_k=top_k)
        return stream(photos, self.to_pixels, answer, batch_size=batch_size)

    def to_pixels(self, photo: PhotoSource) -> np.ndarray:
        """What the network sees of a photo: (height, width, 3) uint8, of which `runtime` takes many.

        Raises:
            ImageError: If the photo can't be opened.
        """
        transform = self.photo_transform
        return transform.to_pixels(open_image(photo, short_side=transform.short_side))

    def read(self, outputs: Outputs, *, top_k: int = 5) -> list[Prediction]:
        """What the outputs of `runtime` say about each photo.

        Example:
            >>> outputs = model.runtime(model.to_pixels("photo.jpg")[None])
            >>> outputs.maps, model.read(outputs)[0].label
        """
        return read_outputs(outputs, self.config, self.rejection, top_k=top_k)

    def _answer(self, pixels: np.ndarray, top_k: int) -> list[Prediction]:
        return self.read(self.runtime(pixels), top_k=top_k)

    def save_pretrained(  # type: ignore[override]  # no config, which is the model's own, no push
        self, save_directory: str | Path, *, repo_id: str = ""
    ) -> None:
        """Writes a weights folder in timm's Hub layout: config.json, model.safetensors, README.md.

        With a rule for what is no flower, rejection.safetensors too. Matrices are stored in
        16 bits, vectors (batch norm, biases) in 32. Each file replaces its predecessor in one
        step; a README.md that somebody wrote or edited is kept.

        Args:
            save_directory: The folder; made if missing.
            repo_id: What the card's examples load, if the folder is on its way to the Hub.
        """
        write_folder(
            Path(save_directory),
            self.network,
            self.config,
            rejection=self.rejection,
            pictures=self.pictures,
            repo_id=repo_id,
        )

    def push_to_hub(  # type: ignore[override]  # no config, no patterns: a commit is the whole model
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Upload a flower classifier",
    ) -> "huggingface_hub.CommitInfo":
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
        from flower_model.hub.upload import upload

        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, repo_id=repo_id)
            return upload(
                repo_id,
                {file.name: file for file in Path(folder).iterdir()},
                message=commit_message,
                replaces=FOLDER_FILES,
                token=token,
                private=private,
                revision=revision,
                create_pr=create_pr,
            )
