"""OpenVINO runtime: faster than PyTorch on a CPU, and starts without importing it."""

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from flower_model.errors import FlowerModelError
from flower_model.runtimes.base import Compute, Outputs, Precision
from flower_model.runtimes.devices import has_fast_int8
from flower_model.system.cores import usable_cores


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Keep imports inside from loading openvino_telemetry."""
    # If this optional package is installed, `import openvino` is slower and contacts a server.
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # makes the import raise ImportError
    try:
        yield
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before


with without_telemetry():
    import openvino as ov


class OpenVINORuntime:
    """Run a compiled network on the CPU, one forward pass at a time on all cores.

    Example:
        >>> folder = Path("weights")
        >>> config = read_config(folder / "config.json")
        >>> runtime = load_openvino(folder, config, folder_digest(folder))
        >>> logits, features, maps = runtime(np.zeros((2, 224, 224, 3), np.uint8))
    """

    def __init__(
        self,
        compiled: ov.CompiledModel,
        precision: Precision,
        data_config: Mapping[str, Any],
        memory: np.ndarray | None = None,
        reload: Callable[[], "OpenVINORuntime"] | None = None,
    ) -> None:
        """Create the runtime.

        Args:
            compiled: The compiled network.
            precision: Its precision, for display.
            data_config: timm's data config.
            memory: The memory that holds the compiled network, if it is not a copy.
            reload: Loads the same network again in another process; must be picklable.
        """
        self.data_config = data_config
        classes = compiled.outputs[0].partial_shape[1]
        self.num_classes = classes.get_length() if classes.is_static else None
        self._compiled, self._memory, self._reload = compiled, memory, reload
        self.compute = Compute("cpu", precision)
        self.name = f"OpenVINO on cpu, {precision}"
        self._prepare_process()

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """Run a forward pass, see `Runtime`. Concurrent calls wait for each other."""
        if self._process != os.getpid():  # after a fork, another thread may have held the lock
            self._prepare_process()
        with self._lock:
            results = self._request.infer({0: np.ascontiguousarray(pixels)}, share_inputs=True)
        logits, features, *maps = (np.array(result, np.float32) for result in results.values())
        return Outputs(logits, features, maps[0] if maps else None)

    def _prepare_process(self) -> None:
        self._process = os.getpid()
        self._request = self._compiled.create_infer_request()
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: Any) -> "OpenVINORuntime":
        return self  # immutable

    def __reduce__(self) -> tuple[Callable[[], "OpenVINORuntime"], tuple[()]]:
        if self._reload is None:
            raise FlowerModelError(
                "A model that was compiled in memory can't be pickled: "
                "save it with save_pretrained, and load it in the other process."
            )
        return self._reload, ()


@functools.cache
def shared_core() -> ov.Core:
    """Return the process-wide OpenVINO core.

    It is never destroyed: destroying a `Core` unmaps the stack that it registered for signal
    handlers, and the next signal, such as SIGINT or SIGCHLD, crashes the process (OpenVINO 2026.4).
    """
    return ov.Core()


def resolve_precision(precision: Precision, *, quantized: bool = False) -> Precision:
    """Replace "auto" by the fastest precision that this CPU supports; int8 needs a quantized model."""
    if precision != "auto":
        return precision
    if quantized and has_fast_int8():
        return "int8"
    return "bf16" if _has_bf16() else "fp32"


def compile_model(model: ov.Model, precision: Precision) -> ov.CompiledModel:
    """Compile a model for this CPU in a precision other than "auto"."""
    return shared_core().compile_model(model, "CPU", compile_options(precision))


def compile_options(precision: Precision) -> dict[str, str]:
    """Return the options for compiling a network on this CPU in a precision other than "auto"."""
    # In int8, the hint is for the layers that are not quantized.
    hint = "bf16" if precision == "bf16" or (precision == "int8" and _has_bf16()) else "f32"
    options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    cores = usable_cores()
    if cores < (os.cpu_count() or 1):  # else its default, all physical cores, is right
        options["INFERENCE_NUM_THREADS"] = str(cores)
    return options


def _has_bf16() -> bool:
    return "BF16" in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
