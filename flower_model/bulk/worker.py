"""Worker: a process with the model on a slot of a machine, which answers units of photos."""

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import tee
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from flower_model.bulk.output import OutputFolder
from flower_model.bulk.reading import Source, read_unit
from flower_model.bulk.units import Unit
from flower_model.errors import FlowerModelError, ImageError
from flower_model.results.rows import Row, make_row
from flower_model.runtimes.base import Precision
from flower_model.serialization.weights_folder import answer_files
from flower_model.system.cores import reserve_cores

if TYPE_CHECKING:
    from flower_model.classifier import FlowerClassifier

MAX_ERRORS = 20  # messages per unit
GPU_BATCH, CPU_BATCH = 128, 16  # photos


@dataclass(frozen=True)
class Job:
    """Everything besides the photos and the model that workers share.

    Attributes:
        output: Path or URI of the output folder.
        version: Identifies the model; stored in every row.
        top_k: Labels per row.
        cores: Cores per worker.
        folder: The folder that relative paths start from.
        precision: The model's, where "auto" may differ between machines.
    """

    output: str
    version: str
    top_k: int
    cores: int
    folder: str
    precision: Precision = "auto"


@dataclass
class Report:
    """The outcome of a unit.

    Attributes:
        part: Name of the unit's file.
        photos: Number of photos.
        failures: Number of photos that could not be opened.
        errors: The first `MAX_ERRORS` reasons.
        stop: The reason for which no unit can be answered, if any, in a sentence.
    """

    part: str
    photos: int = 0
    failures: int = 0
    errors: list[str] = field(default_factory=list)
    stop: str = ""

    def count(self, row: Row) -> None:
        """Count a photo's row."""
        self.photos += 1
        if row["error"]:
            self.failures += 1
            if self.failures <= MAX_ERRORS:
                self.errors.append(row["error"])


class Worker:
    """Answers units and writes their files; a callable class as Ray Data runs them in actors."""

    def __init__(self, job: Job, model_files: list[Any]) -> None:
        """Reserve cores; the model is loaded for the first unit.

        Args:
            job: What all workers share.
            model_files: A reference to the result of `read_model` in Ray's object store. It is in a
                list so that Ray passes it on unread.
        """
        reserve_cores(job.cores)
        self.job = job
        self.output = OutputFolder(job.output)
        self._model_files = model_files
        self._model: FlowerClassifier | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Answer the units in the column "unit"; returns their reports in the column "report"."""
        reports = [self.answer(Unit.from_json(text)) for text in batch["unit"]]
        return {"report": [json.dumps(vars(report)) for report in reports]}

    def answer(self, unit: Unit) -> Report:
        """Answer a unit and write its file."""
        report = Report(unit.part)

        def counted(rows: Iterator[Row]) -> Iterator[Row]:
            for row in rows:
                report.count(row)
                yield row

        try:
            with closing(read_unit(unit, self.job.folder)) as photos:
                rows = answer_rows(self._load(), photos, self.job.top_k)
                rows = (row | {"model": self.job.version} for row in rows)
                self.output.write(unit, counted(rows), self.job.top_k)
        except FlowerModelError as error:
            report.stop = str(error)
        return report

    def _load(self) -> "FlowerClassifier":
        if self._model is None:
            import ray

            self._model = load_model(ray.get(self._model_files[0]), self.job.precision)
        return self._model


def answer_rows(
    model: "FlowerClassifier", photos: Iterable[tuple[str, Source]], top_k: int
) -> Iterator[Row]:
    """Yield a row for each photo, in order and in constant memory."""
    named, sources = tee(photos)
    # An unreadable photo takes its place in the batch as an empty file, whose error is ignored.
    contents = (b"" if isinstance(s, ImageError) else s for _, s in sources)
    batch_size = CPU_BATCH if model.runtime.compute.device == "cpu" else GPU_BATCH
    with closing(model.predict_stream(contents, top_k=top_k, batch_size=batch_size)) as answers:
        for (name, source), answer in zip(named, answers, strict=False):  # named ends first
            yield make_row(name, source if isinstance(source, ImageError) else answer)


def read_model(folder: Path) -> dict[str, bytes]:
    """Return the `answer_files` of a weights folder: name -> content."""
    return {file.name: file.read_bytes() for file in answer_files(folder)}


def load_model(files: dict[str, bytes], precision: Precision = "auto") -> "FlowerClassifier":
    """Load the model of `read_model`."""
    from flower_model.classifier import FlowerClassifier

    with TemporaryDirectory(prefix="flower-model-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return FlowerClassifier.from_pretrained(folder, precision=precision)
