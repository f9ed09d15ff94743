"""Metrics, figures, the provenance in config.json, and what a person should look at after a run."""
