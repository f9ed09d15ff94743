"""The command line: `python -m flower_model`, and what all commands of the project share."""
