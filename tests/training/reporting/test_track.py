"""--track logs the metrics of each epoch to an experiment tracker; off by default."""

import csv
import importlib.util

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.support.drawn import draw_dataset
from tests.training.test_training import small_run
from training import train


def test_tensorboard_receives_the_metrics_of_metrics_csv(tmp_path, run_module):
    data = draw_dataset(tmp_path / "discs")
    words = small_run(data, tmp_path / "run", "--epochs", "2", "--track", "tensorboard")
    printed = run_module("training.train", *words)
    assert printed.returncode == 0, printed.stderr
    events = EventAccumulator(str(tmp_path / "run" / "discs")).Reload()
    logged = [(event.step, round(event.value, 4)) for event in events.Scalars("val_accuracy")]
    rows = csv.DictReader((tmp_path / "run" / "metrics.csv").open(encoding="utf-8"))
    assert logged == [(int(row["epoch"]), round(float(row["val_accuracy"]), 4)) for row in rows]


def test_a_missing_tracker_is_reported_with_its_install_command(tmp_path, monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "trackio" else find_spec(name)
    )
    data = draw_dataset(tmp_path / "discs", 3)
    assert train.main(small_run(data, tmp_path / "run", "--track", "trackio")) == 2
    assert "pip install trackio" in capsys.readouterr().err
