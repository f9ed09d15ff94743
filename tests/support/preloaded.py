"""Imports of the process that commands are forked from; see `tests.support.forked`."""

import contextlib
import importlib
import io

from flower_model.runtimes.openvino import without_telemetry

for module in (
    "flower_model.classifier",
    "flower_model.runtimes.openvino_conversion",
    *(f"training.calibration.{name}" for name in ("fit", "references")),
    *(f"training.engine.{name}" for name in ("finetune", "forecast", "linear_probe")),
    *(f"training.engine.{name}" for name in ("preflight", "pretrained")),
    *(f"training.reporting.{name}" for name in ("evaluation", "figures", "review")),
):
    importlib.import_module(module)
with without_telemetry(), contextlib.redirect_stdout(io.StringIO()):
    importlib.import_module("nncf")
