"""python -m training.publish MODEL user/repo: publish a weights folder and a Space on the Hub."""

import argparse
import sys
from pathlib import Path

from flower_model.cli.common import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code (2 for bad input, with a message on stderr)."""
    parser = argparse.ArgumentParser(
        prog="python -m training.publish",
        description="Publish a weights folder on the Hugging Face Hub.",
    )
    parser.add_argument("model", help="a weights folder, such as weights or runs/flowers5/model")
    parser.add_argument("repo", metavar="user/repo", help="model repository to commit to")
    parser.add_argument(
        "--space", metavar="user/demo", help="also publish a Gradio Space that serves the model"
    )
    parser.add_argument("--private", action="store_true", help="make new repositories private")
    parser.add_argument("--revision", help="branch to commit to (default: main)")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request instead")
    parser.add_argument("--message", default="Upload a flower classifier", help="commit message")
    return run_command(lambda: _publish(parser, parser.parse_args(arguments)))


def _publish(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if options.space and (options.revision or options.create_pr):
        parser.error(
            "--space serves the main branch: publish it without --revision and --create-pr"
        )
    from flower_model import FlowerClassifier
    from flower_model.hub.source import HubSource
    from flower_model.hub.upload import check_login, upload
    from flower_model.serialization.model_repo import publish_folder
    from training.space import space_files

    check_login(options.repo, create_pr=options.create_pr)
    if options.space:
        check_login(options.space)
    folder = Path(options.model)
    FlowerClassifier.from_pretrained(folder)  # publish nothing that can't be loaded
    commit = publish_folder(
        folder,
        options.repo,
        private=options.private or None,
        revision=options.revision,
        create_pr=options.create_pr,
        commit_message=options.message,
    )
    print(f"Published: {commit.pr_url or commit.commit_url}")
    if options.space:
        commit = upload(
            HubSource(options.space),
            space_files(options.repo, options.space),
            commit_message=f"Serve {options.repo}",
            private=options.private or None,
            repo_type="space",
            replace_patterns=["flower_model/*"],
        )
        print(f"Published: {commit.commit_url}")
        if options.private:
            print(
                f"'{options.repo}' is private: in the Space's settings, add a token with read "
                "access as the secret HF_TOKEN."
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
