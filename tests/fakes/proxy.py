"""A TCP proxy that misbehaves as networks do: it cuts, stalls, refuses, and heals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

PIECE = 65_536


class Proxy:
    """Stands before a server on 127.0.0.1, at `port`, while its context is open."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self._target_port = target_port
        self._listener: asyncio.Server | None = None
        self._requests = asyncio.Event()  # set: what clients send is passed on
        self._replies = asyncio.Event()
        self._unheard: list[bytes] = []  # requests whose replies are held back
        self._held_back = asyncio.Condition()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.heal()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Abort every connection; new ones are accepted."""
        for writer in self._writers:
            writer.transport.abort()

    async def refuse(self) -> None:
        """Abort every connection and refuse new ones."""
        if self._listener:
            self._listener.close()
            self._listener = None
        self.cut()

    def stall(self) -> None:
        """Hold back everything, in both directions; connections are accepted and stay silent."""
        self._requests.clear()
        self._replies.clear()

    def swallow_replies(self) -> None:
        """Pass on what clients send, and hold back every reply; `cut` then loses them."""
        self._unheard.clear()
        self._replies.clear()

    async def swallowed_reply_to(self, *words: bytes) -> None:
        """Wait until the reply to a request with all of these words is held back."""
        async with self._held_back:
            await self._held_back.wait_for(
                lambda: any(all(word in request for word in words) for request in self._unheard)
            )

    async def heal(self) -> None:
        """Accept and pass on everything again, first what was held back."""
        self._requests.set()
        self._replies.set()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._connect(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the one who listens for connections must not get to see them
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_target, to_target = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers.add(to_target)
        latest = b""

        async def request(piece: bytes) -> None:
            nonlocal latest
            latest = piece
            await self._requests.wait()

        async def reply(_: bytes) -> None:
            if not self._replies.is_set():
                async with self._held_back:
                    self._unheard.append(latest)
                    self._held_back.notify_all()
            await self._replies.wait()

        pumps = [
            asyncio.create_task(_pump(reader, to_target, request)),
            asyncio.create_task(_pump(from_target, writer, reply)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            to_target.transport.abort()
            self._writers.discard(to_target)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    passed: Callable[[bytes], Awaitable[None]],
) -> None:
    while piece := await reader.read(PIECE):
        await passed(piece)
        writer.write(piece)
        await writer.drain()
