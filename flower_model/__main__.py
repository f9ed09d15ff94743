"""Entry point of `python -m flower_model`; see `flower_model.cli.main`."""

import sys

from flower_model.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
