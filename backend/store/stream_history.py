"""What was written before: read from the archive as far as that reaches, then from the stream."""

from dataclasses import dataclass

from ..protocol.entries import Entry, entry_order
from ..protocol.record import Record
from ..protocol.transcript import Transcript
from .archive import Archive
from .connection import Client, expecting_ours
from .records import question_key

# Entries of the stream a read. A reader whose socket does not read holds one page.
PAGE = 200


@dataclass(slots=True)
class Place:
    """How far a reader has come: in the stream up to `position`, in the archive to `page`.

    With `from_archive`, the archive is asked first for what follows. Of that,
    entries of an older attempt than `attempt` do not count: they may be a
    frozen worker's, written after entries that are not archived yet, and what
    was in time stands in the stream as well. Nor do those from the id `before`
    on, where there is one.
    """

    position: str
    attempt: int
    number: int = 0  # of the entry that the archive has to give next
    page: int = 0
    from_archive: bool = True
    before: str = ""

    def begin(self, attempt: int) -> None:
        """Expect entries of this attempt, if it is newer than the one expected so far."""
        if attempt > self.attempt:
            self.attempt, self.number = attempt, 0

    def cover(self, entries: list[Entry]) -> list[Entry]:
        """Move behind these entries of the archive; returns those that count.

        Where one is missing the archive is of no use any more: it was deleted
        or evicted, and has begun anew. The stream has it all the same.
        """
        counting: list[Entry] = []
        for entry in entries:
            if entry.attempt < self.attempt or self._is_late(entry):
                continue
            self.begin(entry.attempt)
            if entry.number > self.number:
                self.from_archive = False
                break
            self.number = max(self.number, entry.number + 1)
            self.position = max(self.position, entry.id, key=entry_order)
            counting.append(entry)
        return counting

    def _is_late(self, entry: Entry) -> bool:
        return bool(self.before) and entry_order(entry.id) >= entry_order(self.before)


class History:
    """Reads past entries of one question; errors of Redis are left to the caller.

    But for one: Expired is raised where what should be a stream is none.
    """

    def __init__(self, redis: Client, archive: Archive) -> None:
        self._redis = redis
        self._archive = archive

    async def advance(
        self, record: Record, place: Place, until: str = "+"
    ) -> tuple[list[Entry], bool]:
        """Read on from a place, which moves; returns entries, and whether there may be more.

        The entries are those of the question, in the order of the stream but
        for the stale ones; some may have been read before. `until` is an id
        of the stream, `(<id>` to stop before it.
        """
        if place.from_archive:
            entries, page = await self._archive.read(record.question_id, place.page)
            if page > place.page:
                place.page = page
                if not place.before:
                    # Asked after the page, never before: a late entry that stands in
                    # it was written after the attempt that makes it stale had begun.
                    place.begin(await self._current_attempt(record.question_id))
                return place.cover(entries), True
            place.from_archive = False
        return await self._stream_page(record, place, until)

    async def _current_attempt(self, question_id: str) -> int:
        with expecting_ours():
            raw = await self._redis.get(question_key(question_id))
        return Record.from_json(raw).attempt if raw else 0

    async def _stream_page(
        self, record: Record, place: Place, until: str
    ) -> tuple[list[Entry], bool]:
        with expecting_ours():
            rows = await self._redis.xrange(
                record.stream, min=f"({place.position}", max=until, count=PAGE
            )
        if rows:
            place.position = rows[-1][0]
        own = (row for row in rows if row[1].get("questionId") == record.question_id)
        return [entry for row in own if (entry := Entry.parse(*row))], len(rows) == PAGE

    async def entry(self, stream: str, entry_id: str) -> Entry | None:
        """The entry with this id; None where it is gone or not one of ours."""
        with expecting_ours():
            rows = await self._redis.xrange(stream, min=entry_id, max=entry_id, count=1)
        return Entry.parse(*rows[0]) if rows else None

    async def transcript(self, record: Record, until: str) -> Transcript:
        """The answer as far as it stands before the entry `until`; raises Expired at a hole."""
        place = Place(record.cursor, record.attempt - 1, before=until)
        transcript = await self._transcript(record, place, until)
        if transcript.last_words or transcript.ending or record.attempt <= 2:
            return transcript
        # That attempt has said nothing. What older ones had not archived before they died
        # stands in the stream, before what it has archived.
        return await self._transcript(record, Place(record.cursor, 1, from_archive=False), until)

    async def _transcript(self, record: Record, place: Place, until: str) -> Transcript:
        transcript = Transcript()
        more = True
        while more:
            entries, more = await self.advance(record, place, f"({until}")
            for entry in entries:
                transcript.add(entry)
        return transcript
