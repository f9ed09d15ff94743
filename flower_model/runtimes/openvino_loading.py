"""Loading a weights folder with OpenVINO, through the disk cache of compiled networks."""

from contextlib import suppress
from functools import partial
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
from flower_model.serialization.digest import load_unchanged_network


def load_openvino(
    folder: Path, config: ModelConfig, digest: str, precision: Precision = "auto"
) -> OpenVINORuntime:
    """Load a network from the disk cache, or convert, compile and cache it.

    A cache entry is keyed by the digest of the weights folder's files. It is only written after
    files with this digest passed every check of `load_network`.

    Args:
        folder: Folder with config.json and model.safetensors.
        config: The parsed config.json.
        digest: Digest of these files, from `folder_digest`.
        precision: "auto" selects the fastest that the CPU supports.

    Raises:
        ModelError: If the folder is damaged or inconsistent, or no longer has this digest.
    """
    core = shared_core()
    precision = resolve_precision(precision)
    reload = partial(load_openvino, folder.absolute(), config, digest, precision)
    key = cache_key(digest, precision, core.get_property("CPU", "FULL_DEVICE_NAME"))
    if entry := read_entry(key):
        blob, data_config = entry
        with suppress(RuntimeError):  # compiled by another build of OpenVINO
            memory = ov.Tensor(blob, shared_memory=True)
            compiled = core.import_model(memory, "CPU", compile_options(precision))
            return OpenVINORuntime(compiled, precision, data_config, blob, reload)

    from flower_model.runtimes.openvino_conversion import convert  # slow: imports torch

    model, data_config = convert(load_unchanged_network(folder, config, digest))
    compiled = compile_model(model, precision)
    write_entry(key, compiled.export_model().getvalue(), data_config)
    return OpenVINORuntime(compiled, precision, data_config, reload=reload)
