"""Labels of photos matched to the labels of a model that names the same classes differently."""

from collections.abc import Iterable
from dataclasses import replace

from flower_model.config import ModelConfig
from training.data.flowers102 import flowers
from training.data.folders import Photo, clean_label


def match_labels(photos: Iterable[Photo], config: ModelConfig) -> list[Photo]:
    """Relabel photos with a model's labels where its config.json or a former class name allows it.

    A model from before the class names of Oxford 102 were corrected knows each class by the data set's name.
    """
    former = {flower.label: flower.oxford for flower in flowers()}
    labels = {clean_label(label): label for label in config.labels}

    def match(label: str) -> str:
        if label in labels:
            return labels[label]
        alias = config.aliases.get(label, former.get(label, label))
        return alias if alias in config.labels else label

    return [replace(photo, label=match(photo.label)) for photo in photos]
