"""Loading a weights folder with OpenVINO, through the disk cache of compiled networks."""

from contextlib import suppress
from functools import partial
from pathlib import Path

from flower_model.config import ModelConfig
from flower_model.errors import ModelError, shorten
from flower_model.quantization import QUANTIZATION_FILE, find_quantization
from flower_model.runtimes.base import Precision
from flower_model.runtimes.compiled_cache import cache_key, read_entry, write_entry
from flower_model.runtimes.openvino import (
    OpenVINORuntime,
    compile_model,
    compile_options,
    ov,
    resolve_precision,
    shared_core,
)
from flower_model.serialization.digest import load_unchanged_network


def load_openvino(
    folder: Path, config: ModelConfig, digest: str, precision: Precision = "auto"
) -> OpenVINORuntime:
    """Load a network from the disk cache, or convert, compile and cache it.

    A cache entry is keyed by the digest of the weights folder's files, from `folder_digest`. It is
    only written after files with this digest passed every check of `load_network`.

    Raises:
        ModelError: If the folder is damaged or inconsistent, no longer has this digest, or lacks
            the quantization that int8 needs.
    """
    core = shared_core()
    quantization = None
    if precision in ("auto", "int8"):
        quantization = find_quantization(folder, weights_sha256=digest.rpartition("-")[2])
    precision = resolve_precision(precision, quantized=quantization is not None)
    if precision != "int8":
        quantization = None
    elif quantization is None:
        raise ModelError(
            f"'{shorten(folder, 80)}' has no {QUANTIZATION_FILE} for its weights, which int8 needs. "
            "Run `python -m training.quantize` on it, or choose another precision."
        )
    settings = [digest, precision, core.get_property("CPU", "FULL_DEVICE_NAME")]
    settings += [quantization.digest()] if quantization else []
    reload = partial(load_openvino, folder.absolute(), config, digest, precision)
    key = cache_key(*settings)
    if entry := read_entry(key):
        blob, data_config = entry
        with suppress(RuntimeError):  # compiled by another build of OpenVINO
            memory = ov.Tensor(blob, shared_memory=True)
            compiled = core.import_model(memory, "CPU", compile_options(precision))
            return OpenVINORuntime(compiled, precision, data_config, blob, reload)

    from flower_model.runtimes.openvino_conversion import convert  # slow: imports torch

    model, data_config = convert(load_unchanged_network(folder, config, digest))
    if quantization:
        from flower_model.runtimes.openvino_quantization import quantize_model

        quantize_model(model, quantization)
    compiled = compile_model(model, precision)
    write_entry(key, compiled.export_model().getvalue(), data_config)
    return OpenVINORuntime(compiled, precision, data_config, reload=reload)
