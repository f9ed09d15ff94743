"""OpenVINO's network of a weights folder: from the cache on disk, or converted and kept there."""

from contextlib import suppress
from pathlib import Path

from flower_model.config import ModelConfig
from flower_model.runtimes.compiled_cache import cache_key, read_entry, write_entry
from flower_model.runtimes.openvino import (
    OpenVINORuntime,
    Precision,
    compile_options,
    ov,
    shared_core,
)


def load_openvino(
    folder: Path, config: ModelConfig, *, precision: Precision = "auto"
) -> OpenVINORuntime:
    """The network of a weights folder, from the disk's cache or converted and kept there.

    What is cached was once loaded from the very same files with every check of `load_network`.

    Args:
        folder: With config.json and model.safetensors.
        config: What its config.json says.
        precision: "auto" is bf16 where the processor has it.

    Raises:
        ModelError: If the folder is damaged or does not fit together.
    """
    core = shared_core()
    options = compile_options(precision)
    how = options["INFERENCE_PRECISION_HINT"], core.get_property("CPU", "FULL_DEVICE_NAME")
    key = cache_key(folder, *how)
    if key and (entry := read_entry(key)):
        blob, data_config = entry
        with suppress(RuntimeError):  # compiled by another build of the library
            compiled = core.import_model(ov.Tensor(blob, shared_memory=True), "CPU", options)
            return OpenVINORuntime(compiled, data_config, blob)

    from flower_model.runtimes.openvino_conversion import convert
    from flower_model.serialization.network import (
        load_network,  # torch: seconds, on the first start only
    )

    model, data_config = convert(load_network(folder, config))
    compiled = core.compile_model(model, "CPU", options)
    if key and key == cache_key(folder, *how):  # the files are still those that were loaded
        write_entry(key, compiled.export_model().getvalue(), data_config)
    return OpenVINORuntime(compiled, data_config)
