"""The command line: `python -m flower_model`, and helpers that all commands share."""
