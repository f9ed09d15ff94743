"""Clients of the page: HTTP requests as curl sends them, and an MCP client."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


def upload(url, content, name="photo.jpg", **options):
    return httpx.post(f"{url}gradio_api/upload", files={"files": (name, content)}, **options)


def file(path):
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def call(url, *data, endpoint="identify", **options):
    return httpx.post(
        f"{url}gradio_api/call/{endpoint}", json={"data": list(data)}, timeout=60, **options
    )


def join(url, function, *data):
    """Call a function of the page, as the browser does."""
    functions = httpx.get(f"{url}config").json()["dependencies"]
    [number] = [f["id"] for f in functions if f["api_name"] == function]
    request = {"data": data, "fn_index": number, "session_hash": "abc"}
    httpx.post(f"{url}gradio_api/queue/join", json=request).raise_for_status()


def result(url, event, endpoint="identify"):
    """Return ("complete", [answer]) or ("error", {"error": message, …})."""
    response = httpx.get(f"{url}gradio_api/call/{endpoint}/{event}", timeout=60)
    if response.status_code != 200:
        return "error", response.json()
    lines = [line for line in response.text.splitlines() if line and "heartbeat" not in line]
    kind, data = lines[-2:]
    return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def identify(url, content, **options):
    """Upload a photo, call /identify and fetch the result."""
    (path,) = upload(url, content, **options).json()
    return result(url, call(url, file(path), **options).json()["event_id"])


def call_tool(served, name, headers=None, **arguments):
    """Return the tools that an MCP client finds, and the result of calling one."""

    async def call():
        client = httpx.AsyncClient(headers=headers, timeout=60)
        async with (
            streamable_http_client(served.url + "gradio_api/mcp/", http_client=client) as streams,
            ClientSession(*streams[:2]) as session,
        ):
            await session.initialize()
            return await session.list_tools(), await session.call_tool(name, arguments)

    with ThreadPoolExecutor(1) as thread:  # Playwright may run an event loop in this thread
        return thread.submit(asyncio.run, call()).result()
