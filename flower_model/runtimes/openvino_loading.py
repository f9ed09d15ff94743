"""Loading a weights folder with OpenVINO, through the disk cache of compiled networks."""

from contextlib import suppress
from pathlib import Path

from flower_model.config import ModelConfig
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


def load_openvino(
    folder: Path, config: ModelConfig, *, precision: Precision = "auto"
) -> OpenVINORuntime:
    """Load a network from the disk cache, or convert, compile and cache it.

    A cache entry is keyed by the hashes of the weights folder's files, and is only written after
    those files passed every check of `load_network`.

    Args:
        folder: Folder with config.json and model.safetensors.
        config: The parsed config.json.
        precision: "auto" selects bf16 where the CPU supports it.

    Raises:
        ModelError: If the folder is damaged or inconsistent.
    """
    core = shared_core()
    precision = resolve_precision(precision)
    options = compile_options(precision)
    settings = precision, core.get_property("CPU", "FULL_DEVICE_NAME")
    key = cache_key(folder, *settings)
    if key and (entry := read_entry(key)):
        blob, data_config = entry
        with suppress(RuntimeError):  # compiled by another build of OpenVINO
            compiled = core.import_model(ov.Tensor(blob, shared_memory=True), "CPU", options)
            return OpenVINORuntime(compiled, precision, data_config, blob)

    from flower_model.runtimes.openvino_conversion import convert
    from flower_model.serialization.network import load_network  # slow: imports torch

    model, data_config = convert(load_network(folder, config))
    compiled = compile_model(model, precision)
    if key and key == cache_key(folder, *settings):  # the files have not changed since
        write_entry(key, compiled.export_model().getvalue(), data_config)
    return OpenVINORuntime(compiled, precision, data_config)
