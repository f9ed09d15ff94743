"""FlowerClassifier: loads a weights folder or Hub repository, classifies photos, saves and uploads."""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np

from flower_model.config import ModelConfig, valid_pictures
from flower_model.errors import ImageError, ModelError
from flower_model.loading import find_folder, load_parts
from flower_model.photos.decode import open_image
from flower_model.photos.prefetch import answers_or_error, predict_batches
from flower_model.photos.sources import PhotoSource, several_photos
from flower_model.photos.transform import PhotoTransform
from flower_model.plant import (
    PlantPrediction,
    make_plant_prediction,
    open_plant_photos,
)
from flower_model.prediction import Prediction, make_predictions, require_positive
from flower_model.rejection import Rejection
from flower_model.runtimes.base import Compute, Outputs, Precision, Runtime
from flower_model.runtimes.selection import resolve_runtime
from flower_model.serialization.weights_folder import save_weights_folder

if TYPE_CHECKING:  # importing torch takes seconds, and OpenVINO runs without it
    import torch
    from huggingface_hub import CommitInfo
    from torch import nn

Photo = TypeVar("Photo", bound=PhotoSource)


class FlowerClassifier:
    """A timm network with its labels, input transform, temperature and rejection rule.

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
        """Create a classifier from its parts. Most callers use `from_pretrained`.

        Args:
            network: A timm network, or a function that loads it on first access. A network in
                another precision is converted to fp32 in place.
            config: Labels, temperature and metadata.
            device: "cpu", "cuda", "mps", …; by default the fastest available.
            runtime: Runs the network; by default PyTorch on `device`.
            rejection: The rejection rule, if the model has one.
            pictures: Images of the model card: file name -> PNG; invalid ones are left out.
            folder: The weights folder that the model was loaded from.

        Raises:
            FlowerModelError: If the device is not available.
            ModelError: If it is not a timm network, or if it has more or fewer outputs than labels.
        """
        if rejection is None:  # don't save the metadata of a missing rule
            details = {k: v for k, v in config.details.items() if k != "rejection"}
            config = replace(config, details=details)
        self.config = config
        self.rejection = rejection
        self._pictures = pictures or {}
        self.folder = folder
        if hasattr(network, "state_dict"):
            from flower_model.runtimes.pixel_network import unwrap_network

            network = unwrap_network(network)
        self._network = network
        if runtime is None:
            from flower_model.runtimes.pytorch import TorchRuntime

            runtime = TorchRuntime(self.network, Compute(str(device) if device else None))
        if runtime.num_classes not in (None, len(config.labels)):
            raise ModelError(
                f"The network has {runtime.num_classes} outputs but there are {len(config.labels)} "
                "labels: give one label per output."
            )
        self.runtime = runtime
        self.photo_transform = PhotoTransform.from_data_config(runtime.data_config)

    @property
    def network(self) -> "nn.Module":
        """The timm network in evaluation mode, loaded on first access."""
        from torch import nn

        if not isinstance(self._network, nn.Module):
            self._network = self._network().eval()
        return self._network

    @cached_property
    def pictures(self) -> dict[str, bytes]:
        """Images of the model card: file name -> PNG."""
        return valid_pictures(self._pictures)  # on first access: decoding them takes 30 ms

    @cached_property
    def transform(self) -> Any:
        """timm's transform from a PIL image to the network's normalised input."""
        from timm.data.transforms_factory import create_transform

        return create_transform(**self.runtime.data_config, is_training=False)

    @property
    def labels(self) -> list[str]:
        """Class names in the order of the network's outputs."""
        return list(self.config.labels)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        runtime: Literal["auto", "torch", "openvino"] = "auto",
        device: "str | torch.device | None" = None,
        precision: Precision = "auto",
    ) -> "FlowerClassifier":
        """Load a weights folder, or a Hugging Face Hub repository in timm's layout.

        Args:
            model: A folder with config.json and model.safetensors, or "user/repo", optionally with
                "@revision".
            revision: Branch, tag or commit of the repository.
            token: Hub token for private repositories; by default the one saved by `hf auth login`.
            cache_dir: Folder for downloads; by default the Hub client's cache.
            local_files_only: Use only cached files.
            runtime: "torch", "openvino" (CPU only) or "auto" for the faster of the two.
            device: "cpu", "cuda", "mps", …; by default the fastest available.
            precision: "int8", "bf16", "fp32" or "auto" for the fastest that device and model allow.

        Raises:
            FlowerModelError: If the runtime, device or precision is not available.
            ModelError: If the folder is missing, damaged or inconsistent.
            HubError: If the repository does not exist or can't be reached.
        """
        compute = Compute(str(device) if device else None, precision)
        resolved = resolve_runtime(runtime, compute.device)
        folder = find_folder(
            model, revision=revision, token=token, cache_dir=cache_dir, offline=local_files_only
        )
        return cls(**load_parts(folder, resolved, compute, required=runtime == "openvino"))

    @overload
    def predict(self, photos: PhotoSource, *, top_k: int = 5) -> Prediction: ...
    @overload
    def predict(
        self, photos: list[Photo] | tuple[Photo, ...], *, top_k: int = 5, batch_size: int = 16
    ) -> list[Prediction]: ...
    def predict(
        self,
        photos: PhotoSource | list[Photo] | tuple[Photo, ...],
        *,
        top_k: int = 5,
        batch_size: int = 16,
    ) -> Prediction | list[Prediction]:
        """Classify one photo or a list of photos.

        Args:
            photos: A path, bytes, binary file, PIL image or uint8 array (height, width, 3), or a
                list of them.
            top_k: Number of labels to return, at least 1.
            batch_size: Photos per forward pass.

        Returns:
            A Prediction, or a list of them in the order of `photos`.

        Raises:
            ImageError: If a photo can't be opened; for a list, the message has its index.
        """
        if not isinstance(photos, list | tuple):
            require_positive(top_k=top_k)
            outputs = self.runtime(self.to_pixels(photos)[None])
            return self.to_predictions(outputs, top_k=top_k)[0]
        with closing(self.predict_stream(photos, top_k=top_k, batch_size=batch_size)) as stream:
            return answers_or_error(stream)

    def predict_stream(
        self, photos: Iterable[PhotoSource], *, top_k: int = 5, batch_size: int = 16
    ) -> Generator[Prediction | ImageError]:
        """Classify any number of photos in constant memory.

        Threads decode the next photos while the network runs. At most three batches are prefetched
        from `photos`. Closing the generator ends its threads.

        Args:
            photos: An iterable of the same kinds of photos that `predict` accepts. An iterator may
                reuse an array for the next photo, but no other object.
            top_k: Number of labels to return, at least 1.
            batch_size: Photos per forward pass, at least 1.

        Returns:
            A generator that yields, in order, a Prediction for each photo, or an ImageError if the
            photo can't be opened.

        Raises:
            ImageError: If `photos` is one photo, or an iterator reuses a picture for all its frames.

        Example:
            >>> paths = Path("photos").rglob("*.jpg")
            >>> for answer in model.predict_stream(paths):
            ...     print(answer if isinstance(answer, ImageError) else answer.label)
        """
        require_positive(top_k=top_k, batch_size=batch_size)
        return predict_batches(
            several_photos(photos),
            self.to_pixels,
            lambda pixels: self.to_predictions(self.runtime(pixels), top_k=top_k),
            batch_size=batch_size,
        )

    def predict_plant(self, photos: Iterable[PhotoSource], *, top_k: int = 5) -> PlantPrediction:
        """Classify one plant from several photos of it.

        Args:
            photos: Any number of the kinds of photos that `predict` accepts. Copies count once.
            top_k: Number of labels to return, at least 1.

        Raises:
            ImageError: If a photo can't be opened (the message has its index), or `photos` is one photo.
        """
        require_positive(top_k=top_k)
        opened = open_plant_photos(several_photos(photos), self.to_pixels, self.runtime)
        return make_plant_prediction(opened, self.config, self.rejection, top_k=top_k)

    def to_pixels(self, photo: PhotoSource) -> np.ndarray:
        """Return the network's input for a photo, (height, width, 3) uint8 before normalisation.

        Raises:
            ImageError: If the photo can't be opened.
        """
        transform = self.photo_transform
        return transform.to_pixels(open_image(photo, short_side=transform.short_side))

    def to_predictions(self, outputs: Outputs, *, top_k: int = 5) -> list[Prediction]:
        """Convert the outputs of `runtime` to a Prediction for each photo.

        Example:
            >>> outputs = model.runtime(model.to_pixels("photo.jpg")[None])
            >>> outputs.maps, model.to_predictions(outputs)[0].label
        """
        return make_predictions(outputs, self.config, self.rejection, top_k=top_k)

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write a weights folder in timm's Hub layout: config.json, model.safetensors, README.md.

        The rejection rule and, of unchanged weights, quantization and references are written too. Matrices
        are stored in 16 bits. Each file is replaced atomically, and an edited README.md is kept.

        Args:
            save_directory: The folder; created if missing.
        """
        save_weights_folder(
            Path(save_directory),
            self.network,
            self.config,
            rejection=self.rejection,
            pictures=self.pictures,
            loaded_from=self.folder,
        )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Upload a flower classifier",
    ) -> "CommitInfo":
        """Upload the model to the Hugging Face Hub in a single commit; a README.md edited there is kept.

        Args:
            repo_id: "user/repo"; created if missing.
            private: Visibility of a newly created repository; by default the owner's default.
            token: Hub token with write permission; by default the one saved by `hf auth login`.
            revision: Branch to commit to; created from the main branch if missing.
            create_pr: Open a pull request instead of committing directly.
            commit_message: Commit message.

        Returns:
            The commit, with `commit_url`, `oid` and `pr_url`.

        Raises:
            HubError: If the Hub rejects the upload or can't be reached. Nothing is committed then.

        Example:
            >>> model.push_to_hub("user/flowers", private=True)
        """
        from flower_model.serialization.model_repo import publish_folder

        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return publish_folder(
                Path(folder),
                repo_id,
                token=token,
                private=private,
                revision=revision,
                create_pr=create_pr,
                commit_message=commit_message,
            )
