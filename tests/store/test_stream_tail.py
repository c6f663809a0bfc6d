"""The shared tail: every entry to those who follow its question, whatever happens to Redis."""

import asyncio
import gc
import itertools
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from backend.protocol.entries import BEGINNING, Entry
from backend.protocol.errors import StorageUnavailable
from backend.runtime.background_tasks import cancel
from backend.runtime.metrics import Metrics
from backend.store.connection import Client, Storage, connect, insist
from backend.store.stream_tail import FEED_CHARS, FEED_ENTRIES, Feed, StreamTail
from tests.fakes.programs import RedisServer
from tests.fakes.rig import (
    PATIENCE_S,
    QUIET_S,
    STREAM,
    Rig,
    in_background,
    is_quiet,
    open_answer,
    whole_answer,
)

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop


@pytest.fixture
async def rig(storage: Storage) -> AsyncIterator[Rig]:
    """A tail that reads an empty stream."""
    async with Rig(storage).running() as rig:
        yield rig


def piece(text: str, number: int = 1) -> Entry:
    """A piece of some answer."""
    return Entry("q", text, 1, number)


async def take(feed: Feed, count: int) -> list[Entry]:
    """Take so many entries from a feed, in as many goes as it needs."""
    entries: list[Entry] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(entries) < count:
            entries += await feed.take(PATIENCE_S)
    return entries


async def test_a_feed_gets_every_entry_of_its_question(rig: Rig) -> None:
    """A subscriber receives what is written for its question, in order, with the ids of Redis."""
    async with rig.tail.subscribe(STREAM, "q") as feed:
        written = await rig.write(*whole_answer("q", "one", "two"))
        assert await take(feed, 4) == written


async def test_a_feed_gets_nothing_of_other_questions(rig: Rig) -> None:
    """Two questions whose entries alternate do not see a word of each other."""
    async with rig.tail.subscribe(STREAM, "a") as feed_a, rig.tail.subscribe(STREAM, "b") as feed_b:
        pairs = zip(open_answer("a", *"12345"), open_answer("b", *"12345"), strict=True)
        written = await rig.write(*itertools.chain(*pairs))
        assert await take(feed_a, 6) == written[0::2]
        assert await take(feed_b, 6) == written[1::2]
        await rig.tail_caught_up()
        assert await feed_a.take(0) == await feed_b.take(0) == []


async def test_all_feeds_of_a_question_get_every_entry(rig: Rig) -> None:
    """Any number of tabs can follow one answer; what one takes is not missing for the other."""
    async with rig.tail.subscribe(STREAM, "q") as one, rig.tail.subscribe(STREAM, "q") as other:
        written = await rig.write(*open_answer("q", "one", "two"))
        assert await take(one, 3) == written
        assert await take(other, 3) == written


async def test_a_feed_that_was_left_gets_nothing_more(rig: Rig) -> None:
    """Leaving the block ends one subscription, and no other one."""
    async with rig.tail.subscribe(STREAM, "q") as staying:
        async with rig.tail.subscribe(STREAM, "q") as leaving:
            pass
        written = await rig.write(*open_answer("q", "one"))
        assert await take(staying, 2) == written
        assert await leaving.take(0) == []


async def test_leaving_twice_in_any_order_leaves_no_trace(rig: Rig) -> None:
    """Subscriptions come and go; neither feeds nor questions stay behind in memory."""
    gone = []
    for number in range(100):
        async with AsyncExitStack() as first, AsyncExitStack() as last:
            for exits in (first, last):
                subscription = rig.tail.subscribe(STREAM, f"q{number % 10}")
                gone.append(weakref.ref(await exits.enter_async_context(subscription)))
    del subscription
    await rig.tail_caught_up()
    gc.collect()
    assert [feed for feed in gone if feed()] == []
    assert rig.tail._streams[STREAM].feeds == {}


async def test_a_subscription_is_left_by_a_fault_too(rig: Rig) -> None:
    """Whoever fails while subscribed is forgotten like anybody else."""

    async def fail() -> None:
        async with rig.tail.subscribe(STREAM, "q"):
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert rig.tail._streams[STREAM].feeds == {}


async def test_followers_cost_no_reads(rig: Rig) -> None:
    """A hundred followers of a hundred questions share the one read."""
    async with rig.tail.subscribe(STREAM, "q") as feed:
        async with AsyncExitStack() as others:
            for number in range(100):
                await others.enter_async_context(rig.tail.subscribe(STREAM, str(number)))
            before = rig.blocking.count("xread")
            await rig.write(*open_answer("q"))
            await take(feed, 1)
    assert rig.blocking.count("xread") - before <= 1


async def test_reading_begins_at_the_end_of_the_stream(storage: Storage) -> None:
    """What was written before the tail started is history, not news."""
    rig = Rig(storage)
    old = await rig.write(*whole_answer("q", "old"))
    async with rig.running():
        assert rig.tail.position(STREAM) == old[-1].id
        async with rig.tail.subscribe(STREAM, "q") as feed:
            new = await rig.write(piece("new"))
            assert await take(feed, 1) == new


async def test_nothing_is_missed_between_position_and_feed(rig: Rig) -> None:
    """A feed begins right behind the position that it says it begins behind."""
    await rig.write(piece("before"))
    await rig.tail_caught_up()
    async with rig.tail.subscribe(STREAM, "q") as feed:
        assert feed.position == rig.tail.position(STREAM)
        after = await rig.write(piece("after"))
        assert await take(feed, 1) == after


async def test_a_backlog_is_read_page_by_page(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """More entries at once than one read takes arrive in order."""
    monkeypatch.setattr("backend.store.stream_tail.TAIL_READ_ENTRIES", 3)
    async with rig.tail.subscribe(STREAM, "q") as feed:
        async with rig.raw.pipeline(transaction=True) as pipe:
            for number in range(50):
                pipe.xadd(STREAM, piece("x", number + 1).fields())
            await pipe.execute()
        assert [entry.number for entry in await take(feed, 50)] == list(range(1, 51))


async def test_nobody_subscribes_before_the_first_read(storage: Storage) -> None:
    """Without a position there is no seam to history, so that a subscriber is refused."""
    rig = Rig(storage)
    with pytest.raises(StorageUnavailable):
        async with rig.tail.subscribe(STREAM, "q"):
            pass
    with pytest.raises(StorageUnavailable):
        rig.tail.require()


async def test_an_overrun_feed_is_empty_and_says_so() -> None:
    """One entry too many drops all that has gathered, and whatever comes later."""
    feed = Feed("0-0")
    for number in range(FEED_ENTRIES):
        feed.put(piece("x", number + 1))
    assert not feed.overrun
    feed.put(piece("x", FEED_ENTRIES + 1))
    assert feed.overrun
    assert await feed.take(0) == []
    feed.put(piece("late"))
    assert await feed.take(0) == []


async def test_long_entries_overrun_a_feed_too() -> None:
    """Few entries with much text are too many as well."""
    feed = Feed("0-0")
    feed.put(piece("x" * FEED_CHARS))
    assert not feed.overrun
    feed.put(piece("x", 2))
    assert feed.overrun


async def test_taking_makes_room() -> None:
    """A follower that keeps up is never overrun, however long the answer is."""
    feed = Feed("0-0")
    for number in range(3 * FEED_ENTRIES):
        feed.put(piece("x" * (FEED_CHARS // 2), number + 1))
        assert len(await feed.take(0)) == 1
    assert not feed.overrun


async def test_an_overrun_wakes_the_waiting_follower() -> None:
    """Whoever waits when the feed is overrun is told at once."""
    feed = Feed("0-0")
    task = asyncio.create_task(feed.take(PATIENCE_S))
    assert await is_quiet(task)
    for number in range(FEED_ENTRIES + 1):
        feed.put(piece("x", number + 1))
    async with asyncio.timeout(1):
        assert await task == []


async def test_taking_returns_all_that_has_gathered() -> None:
    """A follower that was busy gets everything in one go."""
    feed = Feed("0-0")
    feed.put(piece("one", 1))
    feed.put(piece("two", 2))
    assert await feed.take(PATIENCE_S) == [piece("one", 1), piece("two", 2)]


async def test_taking_waits_and_gives_up() -> None:
    """Where nothing comes, taking returns nothing after its time, and works again after that."""
    feed = Feed("0-0")
    assert await feed.take(QUIET_S) == []
    task = asyncio.create_task(feed.take(PATIENCE_S))
    assert await is_quiet(task)
    feed.put(piece("late"))
    assert await task == [piece("late")]


async def test_a_stream_that_begins_anew_is_noticed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that was deleted and goes on with smaller ids is read from its beginning."""
    monkeypatch.setattr("backend.store.stream_tail.BLOCK_MS", 20)
    async with rig.tail.subscribe(STREAM, "q") as feed:
        await rig.write(piece("old"))
        await take(feed, 1)
        await rig.raw.delete(STREAM)
        await rig.raw.xadd(STREAM, piece("new").fields(), id="5-1")
        await rig.raw.xadd(STREAM, piece("newer", 2).fields(), id="5-2")
        assert [(entry.id, entry.text) for entry in await take(feed, 2)] == [
            ("5-1", "new"),
            ("5-2", "newer"),
        ]


async def test_an_idle_stream_is_not_read_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for a new beginning does not hand out anything twice."""
    monkeypatch.setattr("backend.store.stream_tail.BLOCK_MS", 20)
    async with rig.tail.subscribe(STREAM, "q") as feed:
        await rig.write(piece("once"))
        await take(feed, 1)
        reads = rig.blocking.count("xread")
        await rig.blocking.called("xread", reads + 4)
        assert await feed.take(0) == []


async def test_a_trimmed_stream_goes_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that was trimmed to nothing gives its next entries as ever."""
    monkeypatch.setattr("backend.store.stream_tail.BLOCK_MS", 20)
    async with rig.tail.subscribe(STREAM, "q") as feed:
        await rig.write(piece("old"))
        await take(feed, 1)
        await rig.raw.xtrim(STREAM, maxlen=0, approximate=False)
        await rig.blocking.called("xread", rig.blocking.count("xread") + 3)
        new = await rig.write(piece("new"))
        assert await take(feed, 1) == new


@pytest.mark.parametrize(
    "foreign",
    [
        {"something": "else"},
        {"questionId": "q"},
        {"questionId": "q", "chunkOutput": "a piece of the Node original"},
        {"questionId": "q", "chunkOutput": "x", "attempt": "one", "number": "1"},
        {"questionId": "q", "chunkOutput": "x", "attempt": "1", "number": "1", "status": "odd"},
    ],
    ids=["no question", "no text", "no number", "no attempt", "no status"],
)
async def test_entries_of_other_programs_are_passed_over(rig: Rig, foreign: dict[str, str]) -> None:
    """What is no entry of ours reaches nobody, and does not stop the tail."""
    async with rig.tail.subscribe(STREAM, "q") as feed:
        await rig.raw.xadd(STREAM, foreign)
        written = await rig.write(piece("ours"))
        assert await take(feed, 1) == written


async def test_bytes_that_are_no_text_do_not_stop_the_tail(redis_server: RedisServer) -> None:
    """Another program's bytes, which are not UTF-8, pass through as replacement characters."""
    async with connect(redis_server.url) as storage, Rig(storage).running() as rig:
        async with rig.tail.subscribe(STREAM, "q") as feed:
            async with Redis.from_url(redis_server.url) as other_program:
                await other_program.xadd(STREAM, {b"\xff\xfe": b"\x80"})
                await other_program.xadd(STREAM, {b"questionId": b"\xff"})
                fields: Client = piece("").fields() | {"chunkOutput": b"caf\xe9"}
                await other_program.xadd(STREAM, fields)
            (entry,) = await take(feed, 1)
    assert entry.text == "caf\N{REPLACEMENT CHARACTER}"


async def test_reading_goes_on_after_failures(rig: Rig) -> None:
    """Reads that fail are done again from the same place: nothing is lost, nothing doubled."""
    async with rig.tail.subscribe(STREAM, "q") as feed:
        rig.blocking.lose_reply("xread", 2)
        written = await rig.write(*open_answer("q", "one", "two"))
        assert await take(feed, 3) == written
        await rig.tail_caught_up()
        assert await feed.take(0) == []


async def test_reading_begins_once_redis_is_there(storage: Storage) -> None:
    """A tail that is started while Redis is away has its position as soon as it is back."""
    rig = Rig(storage)
    rig.commands.refuse("xrevrange", 2)
    async with rig.running():
        async with rig.tail.subscribe(STREAM, "q") as feed:
            written = await rig.write(piece("text"))
            assert await take(feed, 1) == written


async def test_a_restart_of_redis_loses_nothing(own_redis: RedisServer) -> None:
    """Entries from before, while and after Redis was away all arrive, once and in order."""
    async with connect(own_redis.url) as storage, Rig(storage).running() as rig:
        async with rig.tail.subscribe(STREAM, "q") as feed:
            written = await rig.write(*open_answer("q", "one", "two"))
            own_redis.kill()
            await asyncio.to_thread(own_redis.start)
            for number in range(3, 10):
                entry = piece("later", number)
                await insist(lambda entry=entry: rig.write(entry))  # type: ignore[misc]
            entries = await take(feed, 10)
            assert entries[:3] == written
            assert [entry.number for entry in entries] == list(range(10))
            await rig.tail_caught_up()
            assert await feed.take(0) == []


async def test_a_frozen_redis_is_waited_out(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read without an answer is given up, and repeated until Redis goes on."""
    monkeypatch.setattr("backend.store.stream_tail.BLOCK_MS", 50)
    monkeypatch.setattr("backend.store.connection.SOCKET_TIMEOUT_S", 0.2)
    monkeypatch.setattr("backend.store.connection.CONNECT_TIMEOUT_S", 0.2)
    async with connect(own_redis.url) as storage, Rig(storage).running() as rig:
        async with rig.tail.subscribe(STREAM, "q") as feed:
            await rig.write(piece("before"))
            await take(feed, 1)
            own_redis.pause()
            await rig.blocking.called("xread", rig.blocking.count("xread") + 3)
            own_redis.go_on()
            await insist(lambda: rig.write(piece("after", 2)))
            assert (await take(feed, 1))[0].text == "after"


async def test_the_tail_ends_when_it_is_cancelled(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever point of a read it is met, a cancelled tail ends; at worst at the second try."""
    monkeypatch.setattr("backend.runtime.background_tasks.CANCEL_AGAIN_S", 0.01)
    for moments in range(30):
        task = asyncio.create_task(rig.tail.run())
        for _ in range(moments):
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            await cancel([task])


async def test_a_burst_reaches_a_follower_that_does_not_keep_up(rig: Rig) -> None:
    """A follower that takes nothing is overrun in its own feed; the others have everything."""
    async with rig.tail.subscribe(STREAM, "q") as idle, rig.tail.subscribe(STREAM, "q") as busy:
        taken: list[Entry] = []

        async def keep_taking() -> None:
            while True:
                taken.extend(await busy.take(PATIENCE_S))

        async with in_background(keep_taking()):
            for number in range(1, FEED_ENTRIES + 50):
                await rig.write(piece("x", number))
            await rig.tail_caught_up()
            await asyncio.sleep(0)
        assert [entry.number for entry in taken] == list(range(1, FEED_ENTRIES + 50))
        assert idle.overrun
        assert not busy.overrun


async def test_other_streams_are_read_while_somebody_follows(rig: Rig) -> None:
    """A stream joins the read under way at once, from the place its follower names."""
    before = await rig.raw.xadd("another", piece("before").fields())
    async with rig.tail.subscribe("another", "q", before) as feed, asyncio.timeout(1):
        await rig.raw.xadd("another", piece("after").fields())
        assert [entry.text for entry in await take(feed, 1)] == ["after"]
        assert rig.tail.position("another") != before
    assert rig.tail.position("another") is None
    assert list(rig.tail._streams) == [STREAM]


async def test_a_second_follower_begins_where_the_stream_is(rig: Rig) -> None:
    """Who joins later gets a feed from the tail's place on; what is before it is history."""
    async with rig.tail.subscribe("another", "q") as first:
        await rig.raw.xadd("another", piece("old").fields())
        (old,) = await take(first, 1)
        async with rig.tail.subscribe("another", "q", BEGINNING) as second:
            assert second.position == old.id
            await rig.raw.xadd("another", piece("new").fields())
            assert [entry.text for entry in await take(second, 1)] == ["new"]


async def test_a_stream_that_is_left_and_followed_again_loses_nothing(rig: Rig) -> None:
    """A read that began for the follower before must not move the place of the new one."""
    async with rig.tail.subscribe("another", "q"):
        pass
    ids = [await rig.raw.xadd("another", piece(str(number)).fields()) for number in range(3)]
    async with rig.tail.subscribe("another", "q", ids[0]) as feed:
        assert [entry.text for entry in await take(feed, 2)] == ["1", "2"]


async def test_many_streams_are_one_read(rig: Rig) -> None:
    """A hundred followers of a hundred streams take no more connections than one."""
    async with AsyncExitStack() as exits:
        feeds = [
            await exits.enter_async_context(rig.tail.subscribe(f"stream {number}", "q"))
            for number in range(100)
        ]
        before = rig.blocking.count("xread")
        async with rig.raw.pipeline(transaction=True) as pipe:
            for number in range(100):
                pipe.xadd(f"stream {number}", piece(str(number)).fields())
            await pipe.execute()
        for number, feed in enumerate(feeds):
            assert [entry.text for entry in await take(feed, 1)] == [str(number)]
        assert rig.blocking.count("xread") - before <= 2


async def test_without_a_stream_to_begin_with(storage: Storage) -> None:
    """A tail that no stream is named to waits until one is."""
    tail = StreamTail(storage, None, Metrics())
    with pytest.raises(StorageUnavailable):
        tail.require()
    async with in_background(tail.run()):
        await tail.begun()
        async with tail.subscribe("another", "q") as feed:
            await storage.commands.xadd("another", piece("hello").fields())
            assert [entry.text for entry in await take(feed, 1)] == ["hello"]
