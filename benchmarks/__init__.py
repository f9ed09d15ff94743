"""What the figures in README and docs were measured by; each module is run with `python -m`."""
