"""Asking a page as programs do: as curl by upload, call and result, or as an MCP client."""

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
    """Asks a function of the page, as a browser does."""
    functions = httpx.get(f"{url}config").json()["dependencies"]
    [number] = [f["id"] for f in functions if f["api_name"] == function]
    question = {"data": data, "fn_index": number, "session_hash": "abc"}
    httpx.post(f"{url}gradio_api/queue/join", json=question).raise_for_status()


def result(url, event, endpoint="identify"):
    """("complete", [answer]) or ("error", {"error": sentence, …})."""
    got = httpx.get(f"{url}gradio_api/call/{endpoint}/{event}", timeout=60)
    if got.status_code != 200:
        return "error", got.json()
    said = got.text
    lines = [line for line in said.splitlines() if line and "heartbeat" not in line]
    kind, data = lines[-2:]
    return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def ask(url, content, **options):
    """The result for a photo's bytes, all three steps."""
    (path,) = upload(url, content, **options).json()
    return result(url, call(url, file(path), **options).json()["event_id"])


def call_tool(served, name, **arguments):
    """The tools that an MCP client finds, and what one of them says."""

    async def call():
        async with (
            streamable_http_client(served.url + "gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await session.list_tools(), await session.call_tool(name, arguments)

    with ThreadPoolExecutor(1) as thread:  # in this one Playwright may have a loop of its own
        return thread.submit(asyncio.run, call()).result()
