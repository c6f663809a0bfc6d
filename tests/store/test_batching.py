"""Many commands as one: all of them, in order, character by character."""

from typing import Any

import pytest
from redis.exceptions import ResponseError

from backend.protocol.entries import entry_order
from backend.store.batching import execute
from backend.store.connection import Storage

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

ODD_TEXTS = [
    "",
    "0",
    "-1e400",
    "null",
    "naïve 漢字 \U0001f98a e\u0301",
    "".join(map(chr, range(0x20))),
    '"{[\\',
    "\x7f\u2028\uffff\U0010ffff",
    "x" * 9_000,
]


async def appended(storage: Storage, *additions: tuple[str, dict[str, str]]) -> list[Any]:
    """Append these, and return their ids; None for what was refused."""
    return await execute(
        storage.writing,
        [
            ("XADD", stream, "*", *(text for field in fields.items() for text in field))
            for stream, fields in additions
        ],
    )


async def stored(storage: Storage, stream: str = "s") -> list[tuple[str, dict[str, str]]]:
    """What stands in a stream."""
    return [(entry_id, fields) for entry_id, fields in await storage.commands.xrange(stream)]


async def test_every_character_arrives(storage: Storage) -> None:
    """What is written is what is read, whatever it looks like."""
    fields = [{"text": text, text or "empty": "x"} for text in ODD_TEXTS]
    await appended(storage, *(("s", each) for each in fields))
    assert [each for _, each in await stored(storage)] == fields


async def test_ids_are_those_of_the_entries(storage: Storage) -> None:
    """The reply names the entries in the order in which they were given, as they stand."""
    ids = await appended(storage, *(("s", {"n": str(n)}) for n in range(1_000)))
    assert [(entry_id, {"n": str(n)}) for n, entry_id in enumerate(ids)] == await stored(storage)
    assert ids == sorted(ids, key=entry_order)


async def test_each_entry_goes_to_its_stream(storage: Storage) -> None:
    """One command serves many streams."""
    ids = await appended(storage, ("s", {"n": "1"}), ("t", {"n": "2"}), ("s", {"n": "3"}))
    assert await stored(storage) == [(ids[0], {"n": "1"}), (ids[2], {"n": "3"})]
    assert await stored(storage, "t") == [(ids[1], {"n": "2"})]


async def test_nothing_is_written_behind_what_was_refused(storage: Storage) -> None:
    """An entry that Redis refuses is the end of it: a later one would leave a hole."""
    with pytest.raises(ResponseError):
        await appended(storage, ("s", {"n": "1"}), ("s", {}), ("s", {"n": "3"}))
    assert [fields for _, fields in await stored(storage)] in ([], [{"n": "1"}])


async def test_a_name_that_is_taken_costs_its_own_entries_alone(storage: Storage) -> None:
    """Where another program's value stands under a stream's name, other streams get theirs."""
    await storage.commands.set("text", "no stream")
    first, refused, again, last = await appended(
        storage, ("s", {"n": "1"}), ("text", {"n": "2"}), ("text", {"n": "3"}), ("s", {"n": "4"})
    )
    assert refused is again is None
    assert await stored(storage) == [(first, {"n": "1"}), (last, {"n": "4"})]


async def test_replies_are_those_of_the_commands(storage: Storage) -> None:
    """Any command that replies with text or a number may be among them."""
    commands = [
        ("RPUSH", "list", "a", "b"),
        ("EXPIRE", "list", "60"),
        ("EXPIRE", "none", "60"),
        ("XADD", "s", "7-1", "n", "1"),
        ("XTRIM", "s", "MINID", "8"),
        ("GET", "none"),
    ]
    assert await execute(storage.writing, commands) == [2, 1, 0, "7-1", 1, None]
    assert 0 < await storage.commands.ttl("list") <= 60
