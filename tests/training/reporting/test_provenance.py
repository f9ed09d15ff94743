"""The record of a run in config.json, which is published: no local paths, one name per source."""

import json

from tests.support.drawn import draw_dataset
from training.data.decoded import decode_photos
from training.data.sampling import Photos
from training.data.sources import source_photos
from training.recipe import Data, load_recipe
from training.reporting.provenance import distinct_source_names, provenance


def test_record_has_no_local_paths(tmp_path):
    folder = str(draw_dataset(tmp_path / "discs", 1))
    data = {key: [folder] for key in ("train", "val", "test", "calibrate")}
    data |= {key: [f"{tmp_path}/more/{key}/"] for key in ("negatives", "other_flowers")}
    recipe = load_recipe("flowers5", {"data": data, "model": {"pretrained": str(tmp_path)}})
    photos = source_photos(folder, tmp_path, Data(train=(folder,), val=(folder,)))
    decoded = decode_photos(photos, 64, cache=False)
    labels = sorted({photo.label for photo in photos})
    details = provenance(recipe, Photos(labels, decoded, decoded), {})
    assert str(tmp_path) not in json.dumps(details)
    assert details["recipe"]["data"]["negatives"] == ["negatives"]
    assert details["recipe"]["data"]["other_flowers"] == ["other_flowers"]


def test_sources_with_the_same_public_name_are_numbered():
    sources = [
        "/a/flowers:test",
        "flowers5:val",
        "/b/flowers:test",
        "c/flowers:test",
        "/d/flowers5",
    ]
    assert distinct_source_names(sources) == [
        "flowers:test",
        "flowers5:val",
        "flowers (2):test",
        "flowers (3):test",
        "flowers5",
    ]
