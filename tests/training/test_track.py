"""--track: the figures of each epoch in a kept tracker, off by default."""

import csv
import importlib.util

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.support.drawn import draw_dataset
from tests.training.test_training import small_run
from training import train


def test_tensorboard_gets_the_figures_of_metrics_csv(tmp_path, run_module):
    data = draw_dataset(tmp_path / "discs")
    words = small_run(data, tmp_path / "run", "--epochs", "2", "--track", "tensorboard")
    printed = run_module("training.train", *words)
    assert printed.returncode == 0, printed.stderr
    events = EventAccumulator(str(tmp_path / "run" / "discs")).Reload()
    tracked = [(event.step, round(event.value, 4)) for event in events.Scalars("val_accuracy")]
    rows = csv.DictReader((tmp_path / "run" / "metrics.csv").open(encoding="utf-8"))
    assert tracked == [(int(row["epoch"]), round(float(row["val_accuracy"]), 4)) for row in rows]


def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "trackio" else found(name)
    )
    data = draw_dataset(tmp_path / "discs", 3)
    assert train.main(small_run(data, tmp_path / "run", "--track", "trackio")) == 2
    assert "pip install trackio" in capsys.readouterr().err
