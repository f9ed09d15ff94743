"""python app.py: the page on which a photo gets its flower's name."""

import argparse
import os
import signal
import sys
from pathlib import Path

from flower_model.cli.common import default_model, run_command
from flower_model.demo.server.arguments import (
    check_address,
    launch_options,
    page_limits,
    page_parser,
)
from flower_model.demo.server.upload_folder import upload_folder

# Read by Gradio when it is imported: nothing is told to its makers, and no statistics are kept of the
# requests, which would cost a pandas table for each.
GRADIO_SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = page_parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # while loading, like Ctrl-C
    return run_command(lambda: serve(options))


def serve(options: argparse.Namespace) -> int:
    """Loads the model and serves its page until interrupted."""
    launch, limits = launch_options(options), page_limits(options)
    check_address(options.host, options.port)
    # Gradio looks at its own page before it says that it is up, and would do so through a proxy.
    own = [os.environ.get("no_proxy") or os.environ.get("NO_PROXY", ""), options.host, "localhost"]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, own))
    if "SPACE_ID" in os.environ:  # there only the Hub's proxy reaches us, and says who asks
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "*")

    # A page that stops, or sweeps up, would otherwise delete the photos of another on this machine.
    with upload_folder() as uploads:
        os.environ.update(GRADIO_SETTINGS, GRADIO_TEMP_DIR=uploads)
        from flower_model.classifier import FlowerClassifier  # seconds: after what can fail at once

        name_or_folder = options.model or default_model()
        model = FlowerClassifier.from_pretrained(name_or_folder)
        from flower_model.demo.inference import Finder
        from flower_model.demo.page import build_demo
        from flower_model.demo.server.guard import Limits, guard
        from flower_model.demo.server.lifecycle import serve_until_stopped
        from flower_model.demo.theme import PAGE
        from flower_model.system.memory import limit_arenas

        limit_arenas()
        folder, find = Path(name_or_folder), Finder(model)
        name = folder.resolve().name if folder.is_dir() else name_or_folder
        page = build_demo(model, name, find)
        gate, guarded = guard(page, find, Limits(**limits))
        serve_until_stopped(page, gate, **{**PAGE, **launch, **guarded})
    return 0


if __name__ == "__main__":
    sys.exit(main())
