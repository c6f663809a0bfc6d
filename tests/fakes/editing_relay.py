"""A relay in front of a provider, which changes what it answers: cut short, or spelt otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

Edit = Callable[[bytes], bytes]


def first_half(body: bytes) -> bytes:
    """The first half of the events of a stream, each of them whole."""
    end = b"\n\n" if b"\n\n" in body else b"\n"
    events = [event + end for event in body.split(end) if event]
    return b"".join(events[: len(events) // 2])


def as_ollama_spells_it(body: bytes) -> bytes:
    """Thought under the name that Ollama has for it; aimock has the name of other servers."""
    return body.replace(b'"reasoning_content":', b'"thinking":')


EDITS: Mapping[str, Edit] = {"half": first_half, "ollama": as_ollama_spells_it}


@asynccontextmanager
async def relaying(target: str) -> AsyncIterator[str]:
    """Pass on whatever is asked below `/<edit>/`; its answer comes edited, and ends as one should.

    Gives the relay's own address.
    """
    async with aiohttp.ClientSession() as http:

        async def relay(request: web.Request) -> web.Response:
            edit = EDITS[request.match_info["edit"]]
            asked = await request.read()
            headers = {"Content-Type": "application/json"}
            url = f"{target}/{request.match_info['path']}"
            async with http.post(url, data=asked, params=request.query, headers=headers) as answer:
                body = edit(await answer.read())
                kind = answer.headers["Content-Type"]
                return web.Response(body=body, status=answer.status, headers={"Content-Type": kind})

        app = web.Application()
        app.router.add_post("/{edit}/{path:.+}", relay)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
