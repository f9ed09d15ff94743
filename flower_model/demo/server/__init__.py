"""Serving the page to strangers: limits, refusals, health, logs, uploads and shutdown."""
