"""The connections to Redis, and the one place where its failures become ours."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from ..protocol.errors import Expired, StorageUnavailable
from .failures import CountedRedis, Failures
from .pipelining import Pipelining

# Ten at most, however many people there are. Commands are short and pipelined:
# more connections would only queue in Redis instead of here.
COMMAND_CONNECTIONS = 4
WRITING_CONNECTIONS = 2  # the writer and the heartbeat never wait behind a thousand readers
BLOCKING_CONNECTIONS = 3  # one for each blocking read: the tail's, the queue's, stop signals
POOL_WAIT_S = 20.0  # a command waits this long for a free connection before it fails
CONNECT_TIMEOUT_S = 2.0
SOCKET_TIMEOUT_S = 5.0  # no answer for so long: the connection is given up
BLOCK_MS = 2_000  # a blocking read returns at least this often, well below SOCKET_TIMEOUT_S
RETRY_MIN_S, RETRY_MAX_S = 0.05, 1.0  # pauses of a task that waits for Redis to come back

# What redis-py, the sockets below it and asyncio.timeout raise when Redis is
# away, loading, out of memory or not what we think it is.
STORAGE_ERRORS = (RedisError, OSError, TimeoutError)

# A client of redis-py. Its annotations cover bytes, RESP2 and RESP3 at once, so
# that with them every reply would have to be cast; ours are text in RESP2's shape.
Client = Any

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Storage:
    """The connections of a process to one Redis; as a context manager it closes them in the end."""

    commands: Client
    writing: Client  # of answers
    blocking: Client  # for reads that block
    failures: Failures = field(default_factory=Failures)  # counts what Redis failed
    pipelining: Pipelining = field(init=False)  # for the single commands of many requests

    def __post_init__(self) -> None:
        self.pipelining = Pipelining(self.commands, self.failures)

    async def __aenter__(self) -> "Storage":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.pipelining.aclose()
        for client in (self.blocking, self.writing, self.commands):
            await client.aclose()


def connect(url: str) -> Storage:
    """Make the clients for this address. Nothing is sent yet: Redis may still be down.

    The library's own retries are off: a hidden retry may write an entry twice,
    and our tasks retry by themselves, at a place where that is safe.
    """
    failures = Failures()
    return Storage(
        commands=_client(url, COMMAND_CONNECTIONS, failures),
        writing=_client(url, WRITING_CONNECTIONS, failures),
        blocking=_client(url, BLOCKING_CONNECTIONS, failures),
        failures=failures,
    )


def _client(url: str, connections: int, failures: Failures) -> Client:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=POOL_WAIT_S,
        protocol=2,  # the shape of replies that fakeredis gives, too
        decode_responses=True,
        encoding_errors="replace",  # another program's bytes must not stop the tail
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    return CountedRedis(pool, failures)


@asynccontextmanager
async def answering_within(seconds: float) -> AsyncIterator[None]:
    """Bound the storage calls of a client's request: raises StorageUnavailable, late or failed.

    Exact for what goes through `pipelining`. A command of redis-py itself may
    swallow the cancellation in the moment of sending, before Python 3.12, and
    ends with SOCKET_TIMEOUT_S then.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except STORAGE_ERRORS as exc:
        raise StorageUnavailable from exc


def is_foreign(exc: BaseException) -> bool:
    """Whether Redis says that a key holds a value of another type than ours: another program's."""
    return isinstance(exc, ResponseError) and str(exc).startswith("WRONGTYPE")


@contextmanager
def expecting_ours() -> Iterator[None]:
    """Raise Expired where another program has taken a key of ours: waiting would not help."""
    try:
        yield
    except ResponseError as exc:
        if is_foreign(exc):
            raise Expired from exc
        raise


class Backoff:
    """The growing pauses of a task that tries until Redis is back."""

    def __init__(self) -> None:
        self._pause_s = RETRY_MIN_S

    def log(self, exc: BaseException) -> None:
        """Say that Redis is away: once an outage, and by the kind of failure alone."""
        if self._pause_s == RETRY_MIN_S:
            logger.warning("redis does not answer (%s), trying again", type(exc).__name__)

    async def wait(self) -> None:
        """Pause, a little longer each time."""
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, RETRY_MAX_S)

    def reset(self) -> None:
        """Begin with short pauses again: Redis has answered."""
        self._pause_s = RETRY_MIN_S


async def insist(operation: Callable[[], Awaitable[T]]) -> T:
    """Try until Redis has done it; for operations that may be done twice.

    Meant for tasks that may wait as long as an outage lasts. Cancelling ends
    the wait; the operation may have been done by then.
    """
    backoff = Backoff()
    while True:
        try:
            return await operation()
        except STORAGE_ERRORS as exc:
            backoff.log(exc)
            await backoff.wait()
