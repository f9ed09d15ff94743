"""Environment variables under which Gradio is imported."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

# No telemetry, and no statistics of requests, which would cost a pandas table per request.
GRADIO_SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
}
# Gradio creates HTTP clients and parses these numbers on import; the page uses none of them, so a
# value that httpx or int() rejects must not stop it.
UNUSED = (
    *("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("GRADIO_SERVER_PORT", "GRADIO_NUM_PORTS", "GRADIO_NODE_NUM_PORTS"),
)


@contextmanager
def gradio_environment() -> Iterator[None]:
    """Apply `GRADIO_SETTINGS` and hide `UNUSED` variables while Gradio is imported."""
    os.environ.update(GRADIO_SETTINGS)
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.upper() in UNUSED}
    try:
        yield
    finally:
        os.environ.update(hidden)
