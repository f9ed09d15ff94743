"""Answers about photos with awkward names, and results files of them."""

import csv
import json

import pyarrow.parquet as pq

from flower_model import ImageError, Prediction
from flower_model.results.results_file import ResultsFile

ROSE = Prediction(
    (("rose", 0.75), ("tulip", 0.2), ("daisy, white", 0.05)),
    flower_probability=0.9,
    is_flower=True,
    botanical_name="Rosa",
    known_probability=0.8,
    is_known=True,
)
NOTHING = Prediction(ROSE.top, flower_probability=0.01, is_flower=False)
TULIP = Prediction((("tulip", 0.5), ("rose", 0.25), ("daisy, white", 1.5e-7)))
BAD = ImageError("'bad.jpg' is empty: copy or download it again.")
PHOTOS = {
    "a.jpg": ROSE,
    "b, c.jpg": TULIP,
    "bad.jpg": BAD,
    "sky.jpg": NOTHING,
    'quote".jpg': ROSE,
    "two\nlines\r.jpg": TULIP,
    "a\rb.jpg": ROSE,
    "blume\udcff.jpg": ROSE,
    "Blüte.jpg": TULIP,
    "=cmd()|A0.jpg": ROSE,
    "'=cmd()|A0.jpg": TULIP,
    "'rose'.jpg": ROSE,
}
SUFFIXES = [".csv", ".jsonl", ".parquet"]
ESCAPED = {"blume\udcff.jpg": r"blume\udcff.jpg"}  # in CSV and Parquet, which are valid UTF-8
FORMULAS = {name: f"'{name}" for name in PHOTOS if name.lstrip("'").startswith("=")}  # in CSV


def opened(path, model="resnet50-0123", top_k=3):
    return ResultsFile(path, model=model, top_k=top_k)


def write_missing(path, photos=PHOTOS, finish=True, **options):
    """Write the rows that are missing, as the command does, and return their photos."""
    with opened(path, **options) as results:
        missing = [photo for photo in photos if not results.is_done(photo)]
        for photo in missing:
            results.write(photo, photos[photo])
        if finish:
            results.finish()
    return missing


def photos_in(path):
    """Return the file names in a results file as a reader of the format sees them."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return [row["photo"] for row in csv.DictReader(file)]
    if path.suffix == ".jsonl":
        return [json.loads(line)["photo"] for line in path.read_text("utf-8").splitlines()]
    return pq.read_table(path)["photo"].to_pylist()


def expected_photos(path, photos=PHOTOS):
    escaped = {".csv": ESCAPED | FORMULAS, ".parquet": ESCAPED, ".jsonl": {}}[path.suffix]
    return [escaped.get(photo, photo) for photo in photos]


def journal_of(path):
    return path if path.suffix == ".jsonl" else path.with_name(f"{path.name}.jsonl")
