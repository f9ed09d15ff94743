"""Metrics, figures, the provenance in config.json, and photos to review after a run."""
