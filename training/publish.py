"""python -m training.publish MODEL user/repo: a weights folder on the Hub, and a Space that serves it."""

import argparse
import sys
from pathlib import Path

from flower_model.cli.common import run_command


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code (2: bad input, said in one sentence)."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _publish(options))


def _publish(options: argparse.Namespace) -> int:
    from flower_model.hub.upload import check_login
    from training.publication import publish_model, publish_space

    check_login(options.repo, create_pr=options.create_pr)
    if options.space:
        check_login(options.space)
    commit = publish_model(
        Path(options.model),
        options.repo,
        private=options.private or None,
        revision=options.revision,
        create_pr=options.create_pr,
        commit_message=options.message,
    )
    print(f"Published: {commit}")
    if options.space:
        commit = publish_space(options.repo, options.space, private=options.private or None)
        print(f"Published: {commit}")
        if options.private:
            print(f"For '{options.repo}' is private, give the Space a secret named HF_TOKEN.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.publish",
        description="Puts a weights folder on the Hugging Face Hub.",
    )
    parser.add_argument("model", help="a weights folder, such as weights or runs/flowers5/model")
    parser.add_argument("repo", metavar="user/repo", help="the model repository to commit to")
    parser.add_argument("--space", metavar="user/demo", help="and a Gradio Space that serves it")
    parser.add_argument("--private", action="store_true", help="what is created is private")
    parser.add_argument("--revision", help="branch to commit to (default: main)")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request instead")
    parser.add_argument("--message", default="Upload a flower classifier", help="of the commit")
    return parser


if __name__ == "__main__":
    sys.exit(main())
