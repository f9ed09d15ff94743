"""python app.py: serve the page that identifies the flower in a photo."""

import argparse
import os
import signal
import sys
from pathlib import Path

from flower_model.cli.common import default_model, run_command
from flower_model.demo.server.arguments import bind, page_limits, page_options, page_parser
from flower_model.demo.server.environment import gradio_environment


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # while loading, like Ctrl-C
    return run_command(lambda: serve(page_parser().parse_args(arguments)))


def serve(options: argparse.Namespace) -> int:
    """Load the model and serve its page until interrupted."""
    page, limits = page_options(options), page_limits(options)
    from flower_model.demo.server.upload_folder import upload_folder

    with bind(options.host, options.port) as listener, upload_folder() as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        from flower_model.classifier import FlowerClassifier  # takes seconds: after the checks

        source = options.model or default_model()
        model = FlowerClassifier.from_pretrained(source, precision=options.precision)
        with gradio_environment():
            from flower_model.demo.identifier import PhotoIdentifier
            from flower_model.demo.page import build_demo
            from flower_model.demo.server.application import create_app
            from flower_model.demo.server.rate_limits import Limits
            from flower_model.demo.server.serving import serve_until_stopped
        from flower_model.system.memory import limit_arenas

        limit_arenas()
        folder = Path(source)
        name = folder.resolve().name if folder.is_dir() else source
        identify = PhotoIdentifier(model)
        demo = build_demo(identify, name)
        app, request_filter = create_app(demo, identify, Limits(**limits), mcp=options.mcp, **page)
        serve_until_stopped(
            app,
            demo,
            request_filter,
            listener,
            root_path=options.root_path,
            share=options.share,
            mcp=options.mcp,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
