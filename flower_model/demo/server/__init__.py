"""Serving the page to untrusted clients: limits, refusals, health check, logging and shutdown."""
