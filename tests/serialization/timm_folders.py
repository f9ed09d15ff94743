"""Parts of weights folders that other tools write, and checks of how they load."""

import pytest
import timm
import torch
from PIL import Image

from flower_model import FlowerClassifier
from flower_model.errors import ModelError

WEIGHTS = "model.safetensors"
LABELS = ["daisy", "dandelion", "rose", "sunflower", "tulip"]
INPUTS = {
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
    "input_size": [3, 128, 128],
    "interpolation": "bilinear",
    "crop_pct": 0.8,
}


def assert_same_as_timm(folder, flower_photo):
    """Preprocessing and logits are the same as in timm, and the runtime uses them."""
    ours = FlowerClassifier.from_pretrained(folder, runtime="torch", device="cpu")
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    data_config = timm.data.resolve_data_config({}, model=theirs)
    photo = timm.data.create_transform(**data_config)(Image.open(flower_photo).convert("RGB"))
    with torch.inference_mode():
        logits = theirs(photo[None])
        torch.testing.assert_close(ours.network(photo[None]), logits)
    assert dict(ours.runtime.data_config) == data_config
    found = ours.runtime(ours.to_pixels(flower_photo)[None]).logits
    torch.testing.assert_close(torch.as_tensor(found), logits, atol=0.02, rtol=0.02)


def assert_refused(folder, *parts):
    with pytest.raises(ModelError) as caught:
        FlowerClassifier.from_pretrained(folder, runtime="torch", device="cpu")
    message = str(caught.value)
    assert len(message) <= 300 and "\n" not in message
    for part in parts:
        assert part in message
