"""The archive: an answer by itself, page by page, as long as it is kept."""

import pytest

from backend.protocol.entries import Ending, Entry
from backend.protocol.errors import ModelTimeout
from backend.protocol.transcript import Transcript
from backend.store import batching
from backend.store.archive import PAGES_A_READ, Archive, archive_key
from backend.store.connection import Storage
from tests.fakes.rig import DONE, end, open_answer, whole_answer

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

RETENTION_S = 60
ODD_TEXTS = [
    "",
    "naïve 😀",
    "\n\r\t\0",
    '{"a": [1]}',
    "<br/>;END:q",
    "\N{LINE SEPARATOR}",
    "x" * 9_000,
]


@pytest.fixture
def archive(storage: Storage) -> Archive:
    """An empty archive."""
    return Archive(storage.commands, RETENTION_S)


async def add(storage: Storage, archive: Archive, *pages: list[Entry]) -> None:
    """Append pages, as the writer does it."""
    for page in pages:
        await batching.execute(storage.writing, archive.page("q", page))


def with_ids(entries: list[Entry]) -> list[Entry]:
    """The entries as they are once they stand in the stream."""
    return [
        Entry(each.question_id, each.text, each.attempt, each.number, each.ending, f"7-{number}")
        for number, each in enumerate(entries)
    ]


async def read_all(archive: Archive) -> list[Entry]:
    """Read from the first page on, until nothing more comes."""
    read, page = await archive.read("q", 0)
    while (more := await archive.read("q", page))[0]:
        read, page = read + more[0], more[1]
    return read


@pytest.mark.parametrize(
    "ending",
    [DONE, Ending("stopped"), Ending("done", None, "length"), Ending.failed(ModelTimeout())],
    ids=lambda ending: f"{ending.status} {ending.finish_reason}",
)
async def test_entries_come_back_as_they_were(
    storage: Storage, archive: Archive, ending: Ending
) -> None:
    """Ids, attempts, numbers, any text, and all that an END says survive the archive."""
    answer = with_ids(
        [
            *open_answer("q", *ODD_TEXTS, attempt=3),
            end("q", *ODD_TEXTS, attempt=3, ending=ending),
        ]
    )
    await add(storage, archive, answer)
    assert await archive.read("q", 0) == (answer, 1)


async def test_pages_are_read_in_the_order_of_writing(storage: Storage, archive: Archive) -> None:
    """An answer of many pages comes some pages a read, without gap or repetition."""
    answer = with_ids(whole_answer("q", *"abcdefghijklmnop"))
    await add(storage, archive, *([entry] for entry in answer))
    first, page = await archive.read("q", 0)
    assert (first, page) == (answer[:PAGES_A_READ], PAGES_A_READ)
    assert await read_all(archive) == answer


async def test_reading_goes_on_where_it_ended(storage: Storage, archive: Archive) -> None:
    """At the end nothing is read; what is added later is read from there."""
    answer = with_ids(open_answer("q", *"abc"))
    await add(storage, archive, answer[:2])
    _, page = await archive.read("q", 0)
    assert await archive.read("q", page) == ([], page)
    await add(storage, archive, answer[2:])
    assert await archive.read("q", page) == (answer[2:], page + 1)


async def test_an_unknown_answer_has_no_pages(archive: Archive) -> None:
    """Where nothing was archived, or nothing is left, there is nothing to read."""
    assert await archive.read("nobody's", 0) == ([], 0)


async def test_answers_do_not_mix(storage: Storage, archive: Archive) -> None:
    """Each question has pages of its own."""
    await add(storage, archive, with_ids(open_answer("q", "mine")))
    assert await archive.read("another", 0) == ([], 0)


async def test_every_page_prolongs_the_life_of_all(storage: Storage, archive: Archive) -> None:
    """The whole answer expires so long after its last page, not after its first."""
    first, second = with_ids(open_answer("q", "a"))
    await add(storage, archive, [first])
    assert await storage.commands.ttl(archive_key("q")) in (RETENTION_S - 1, RETENTION_S)
    await storage.commands.expire(archive_key("q"), 5)
    await add(storage, archive, [second])
    assert await storage.commands.ttl(archive_key("q")) in (RETENTION_S - 1, RETENTION_S)


async def test_a_short_retention_is_a_second_at_least(storage: Storage) -> None:
    """Nothing is archived for ever, and nothing is gone at once."""
    await add(storage, Archive(storage.commands, 0.1), with_ids(open_answer("q")))
    assert 0 <= await storage.commands.ttl(archive_key("q")) <= 1


async def test_a_repeated_page_does_no_harm(storage: Storage, archive: Archive) -> None:
    """A page that was added again after a lost reply does not change the answer."""
    answer = with_ids(whole_answer("q", *"abcd"))
    await add(storage, archive, answer[:2], answer[2:4], answer[2:4], answer[4:], answer[4:])
    transcript = Transcript()
    for entry in await read_all(archive):
        transcript.add(entry)
    assert (transcript.text, transcript.ending) == ("abcd", DONE)
