"""Shards of photos for array jobs."""

from pathlib import Path

import pytest

from flower_model import FlowerModelError
from flower_model.bulk.shard import Shard

PHOTOS = [f"album/{number}.jpg" for number in range(4000)]


def test_every_photo_is_in_exactly_one_shard():
    shards = [Shard(number, 7) for number in range(1, 8)]
    assert all(sum(photo in shard for shard in shards) == 1 for photo in PHOTOS)


def test_shards_are_about_equally_large():
    sizes = [sum(photo in Shard(number, 8) for photo in PHOTOS) for number in range(1, 9)]
    assert min(sizes) > 400 and max(sizes) < 600


def test_name_that_is_not_utf8_has_a_shard():
    assert "blume\udcff.jpg" in Shard(1, 1)


def test_each_shard_has_a_file_of_its_own():
    assert Shard.parse("3/64").path(Path("out/a.csv")) == Path("out/a-00003-of-00064.csv")


@pytest.mark.parametrize(
    "text", ["", "3", "0/4", "5/4", "-1/4", "a/b", "1/2/3", "1.5/2", "1/10000000000"]
)
def test_shard_that_does_not_exist_is_rejected(text):
    with pytest.raises(FlowerModelError, match="from 1 to the number of shards, such as 3/64"):
        Shard.parse(text)
