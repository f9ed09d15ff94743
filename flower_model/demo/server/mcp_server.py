"""MCP server with the API's functions as tools."""

import anyio
from anyio.to_thread import run_sync
from mcp.server.fastmcp import FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings

from flower_model.demo.answers.table import PhotoAnswer, identify_uploads
from flower_model.demo.identifier import (
    CONCURRENT_BATCHES,
    CONCURRENT_PHOTOS,
    PhotoIdentifier,
)
from flower_model.demo.server.request_filter import MAX_MCP_BYTES
from flower_model.demo.server.request_log import log_request
from flower_model.demo.uploads import decode_photo, open_uploads
from flower_model.errors import FlowerModelError
from flower_model.plant import PlantPredictionDict
from flower_model.prediction import PredictionDict


def create_mcp_server(identify_photo: PhotoIdentifier) -> FastMCP:
    """Return an MCP server with the tools `identify`, `identify_plant` and `identify_many`.

    It replaces Gradio's, which calls its own page over HTTP, without the password of `--auth`, and
    returns Python literals.
    """
    # Tools run outside the event loop, but not in the default limiter's threads, which the page and its
    # generators need.
    photo_threads = anyio.CapacityLimiter(CONCURRENT_PHOTOS)
    batch_threads = anyio.CapacityLimiter(CONCURRENT_BATCHES)
    server = FastMCP(
        "flower-model",
        streamable_http_path="/",
        json_response=True,
        stateless_http=True,
        max_request_body_size=MAX_MCP_BYTES,
        # The page may be served under any host name.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )

    @server.tool()
    async def identify(photo: str) -> PredictionDict:
        """Identify the flower in a photo.

        Args:
            photo: Image file (JPEG, PNG, WebP, …), base64-encoded, with or without a data: prefix.
                URLs are not fetched.
        """

        def answer() -> PredictionDict:
            with log_request("mcp: identify", _tool_error, photos=1):
                return identify_photo(decode_photo(photo)).prediction.to_dict()

        return await run_sync(answer, limiter=photo_threads)

    @server.tool()
    async def identify_plant(photos: list[str]) -> PlantPredictionDict:
        """Identify one plant from several photos of it.

        Args:
            photos: One to five image files, each base64-encoded, with or without a data: prefix.
        """

        def answer() -> PlantPredictionDict:
            with log_request("mcp: identify_plant", _tool_error, len(photos)):
                contents = [decode_photo(photo) for photo in photos]
                return identify_photo.identify_plant(contents).prediction.to_dict()

        return await run_sync(answer, limiter=photo_threads)

    @server.tool()
    async def identify_many(photos: list[str]) -> list[PhotoAnswer]:
        """Identify the flower in each of several photos.

        Args:
            photos: Image files, each base64-encoded, with or without a data: prefix.
        """

        def answers() -> list[PhotoAnswer]:
            name = "mcp: identify_many"
            with log_request(name, _tool_error) as record, open_uploads(photos) as uploads:
                record.photos = len(uploads)
                return identify_uploads(identify_photo, uploads)

        return await run_sync(answers, limiter=batch_threads)

    return server


def _tool_error(error: FlowerModelError) -> ToolError:
    return ToolError(str(error))
