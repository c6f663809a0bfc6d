"""A Redis that lives in this process: what --demo embeds, so that it needs no server."""

from typing import Any

from fakeredis import FakeAsyncRedis, FakeServer

from .connection import Client, Storage


class EmbeddedRedis(FakeAsyncRedis):
    """fakeredis, with an XREADGROUP that blocks.

    Its own returns at once (seen with fakeredis 2.40), so that a worker would
    spin; its XREAD does wait. To be removed once XREADGROUP waits, too.
    """

    async def xreadgroup(  # type: ignore[override]
        self,
        groupname: str,
        consumername: str,
        streams: Any,
        count: int | None = None,
        block: int | None = None,
    ) -> Any:
        """Read for a consumer, waiting up to `block` ms for something new."""

        async def read() -> Any:
            return await super(EmbeddedRedis, self).xreadgroup(
                groupname, consumername, streams, count=count
            )

        newest: Any = {
            stream: (await self.xinfo_stream(stream))["last-generated-id"] for stream in streams
        }
        if reply := await read():
            return reply
        await self.xread(newest, count=1, block=block)
        return await read()


def embedded_redis(url: str = "") -> Storage:
    """Clients of a Redis that lives, and dies, with this process; the address is ignored."""
    server = FakeServer()

    def client() -> Client:
        return EmbeddedRedis(server=server, decode_responses=True)

    return Storage(commands=client(), writing=client(), blocking=client())
