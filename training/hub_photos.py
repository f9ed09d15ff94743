"""Photos of a dataset on the Hugging Face Hub, put into class folders once.

`datasets` reads whatever the Hub shows as one: Parquet, WebDataset, folders of images. It streams, so
nothing is kept twice.
"""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants

from flower_model.errors import DataError, HubError
from flower_model.files import atomic_folder, atomic_path

PREFIX = "hf://datasets/"
SPLITS = {"train": "train", "validation": "val", "valid": "val", "val": "val", "test": "test"}


def fetch_photos(source: str) -> Path:
    """The photos of "hf://datasets/user/name" as a folder of class folders.

    If the dataset has validation photos the folder holds train/ and val/; otherwise it is its training
    photos. It lies in the Hub client's cache under the dataset's commit, and is complete.

    Raises:
        HubError: If the dataset does not exist or can't be fetched.
        DataError: If it has no column of images or none of classes.
    """
    from datasets import load_dataset

    repo_id = source.removeprefix(PREFIX)
    try:
        commit = HfApi().dataset_info(repo_id).sha
        folder = Path(constants.HF_ASSETS_CACHE) / "flower_model" / "photos" / str(commit)
        folder /= repo_id.rpartition("/")[2]
        if not folder.is_dir():
            splits = load_dataset(repo_id, revision=commit, streaming=True)
            named = {SPLITS[name]: rows for name, rows in splits.items() if name in SPLITS}
            if "train" not in named:
                raise DataError(f"'{source}' has no split called train.")
            with atomic_folder(folder) as temporary:
                if "val" not in named:
                    _write(named["train"], temporary, source)
                else:
                    for name, rows in named.items():
                        _write(rows, temporary / name, source)
    except (OSError, ValueError, RuntimeError) as error:  # datasets' and the Hub client's own
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise HubError(f"'{source}' can't be fetched from the Hub ({first}).") from None
    return folder


def _write(rows: Any, folder: Path, source: str) -> None:
    from datasets import Image

    image, label = _columns(rows.features, source)
    names = getattr(rows.features[label], "names", None)
    for number, row in enumerate(rows.cast_column(image, Image(decode=False))):
        text = names[row[label]] if names else str(row[label])
        # whoever made the dataset chose this text: it must not lead out of the folder
        name = text.replace("/", "-").replace("\\", "-").replace("\0", "").lstrip(".") or "unnamed"
        photo = row[image]
        with atomic_path(folder / name / f"{number:07}") as temporary:
            temporary.write_bytes(photo["bytes"] or Path(photo["path"]).read_bytes())


def _columns(features: Any, source: str) -> tuple[str, str]:
    """The columns with the photos and with their classes."""
    from datasets import ClassLabel, Image

    features = features or {}
    images = [name for name, kind in features.items() if isinstance(kind, Image)]
    labels = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
    labels += [name for name in ("label", "labels", "cls", "class") if name in features]
    if not images or not labels:
        raise DataError(f"'{source}' needs a column of images and one called label.")
    return images[0], labels[0]
