"""python -m training.pack: the photos of a data root in small tar files, for another machine."""

import tarfile

import pytest
from PIL import Image

from tests.support.drawn import draw_dataset
from training import pack


def pack_dataset(root, out, *words):
    assert pack.main(["discs", "--data-root", str(root), "--out", str(out), *words]) == 0
    return sorted(out.glob("*.tar"))


def test_tar_files_unpack_to_a_data_root_with_smaller_photos(tmp_path, capsys):
    folder = draw_dataset(tmp_path / "root" / "discs", 3)
    Image.effect_noise((900, 600), 80).convert("RGB").save(folder / "large.png")
    (folder / "labels.txt").write_text("1 red disc")
    (part,) = pack_dataset(tmp_path / "root", tmp_path / "packed", "--short-side", "64")
    assert "photos-00.tar" in capsys.readouterr().out
    with tarfile.open(part) as tar:
        tar.extractall(tmp_path / "copy", filter="data")
    names = {f.relative_to(tmp_path / "root") for f in folder.rglob("*") if f.is_file()}
    copied = {
        f.relative_to(tmp_path / "copy") for f in (tmp_path / "copy").rglob("*") if f.is_file()
    }
    assert copied == names
    with Image.open(tmp_path / "copy" / "discs" / "large.png") as image:
        assert image.size == (96, 64)
        assert image.format == "WEBP"
    assert (tmp_path / "copy" / "discs" / "labels.txt").read_text() == "1 red disc"


@pytest.mark.slow
def test_no_tar_file_exceeds_the_limit_and_packing_is_reproducible(tmp_path):
    folder = tmp_path / "root" / "discs" / "noise"
    folder.mkdir(parents=True)
    for number in range(12):
        Image.effect_noise((700, 700), 100).convert("RGB").save(folder / f"{number}.png")
    words = "--short-side", "700", "--max-mb", "1"
    parts = pack_dataset(tmp_path / "root", tmp_path / "first", *words)
    assert len(parts) > 1
    assert all(part.stat().st_size <= 1_000_000 for part in parts)
    names = []
    for part in parts:
        with tarfile.open(part) as tar:
            names += tar.getnames()
    assert sorted(names) == sorted(f"discs/noise/{number}.png" for number in range(12))
    again = pack_dataset(tmp_path / "root", tmp_path / "second", *words)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in parts]


def test_a_missing_folder_is_reported_in_one_sentence(tmp_path, capsys):
    assert pack.main(["nowhere", "--data-root", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["../discs", "/discs"])
def test_folders_outside_of_the_data_root_are_refused(tmp_path, capsys, folder):
    assert pack.main([folder, "--data-root", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "is not below" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--short-side", "--max-mb"])
def test_sizes_below_one_are_refused(tmp_path, capsys, option):
    assert pack.main(["discs", "--data-root", str(tmp_path), option, "0"]) == 2
    assert "must be at least 1" in capsys.readouterr().err
