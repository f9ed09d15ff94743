"""Imports of the process that commands are forked from; see `tests.support.forked`."""

import contextlib
import importlib
import io

from flower_model.runtimes.openvino import without_telemetry

for module in ("flower_model.classifier", "training.engine.finetune", "training.evaluate"):
    importlib.import_module(module)
with without_telemetry(), contextlib.redirect_stdout(io.StringIO()):
    importlib.import_module("nncf")
