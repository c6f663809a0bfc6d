"""The records of questions: asked once, changed one at a time, gone after a while."""

import asyncio
import dataclasses
import json

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from backend.protocol.errors import Expired, StorageUnavailable
from backend.protocol.record import Record
from backend.store.connection import Storage, insist
from backend.store.records import Records, question_key
from tests.fakes.gated_redis import GatedRedis
from tests.fakes.rig import PATIENCE_S, STREAM, new_ask

pytestmark = pytest.mark.usefixtures("shared_redis")  # it has to start outside of an event loop

RETENTION_S = 100.0
QUEUE = "queue"


@pytest.fixture
def questions(storage: Storage) -> Records:
    """The records in an empty Redis."""
    return Records(storage, RETENTION_S)


def new_record(delivery: str = "token") -> Record:
    """The record of a question that nobody has asked before."""
    return Record.queued(new_ask(), STREAM, "0-0", delivery)


enqueue = ("XADD", QUEUE, "*", "questionId", "some")


def gated(gate: GatedRedis) -> Storage:
    """A storage whose every command goes through the gate."""
    return Storage(commands=gate, writing=gate, blocking=gate)


def one_more_lapse(record: Record) -> Record:
    """A change that tells how often it was applied."""
    return dataclasses.replace(record, lapses=record.lapses + 1)


async def test_a_record_reads_as_it_was_created(questions: Records) -> None:
    """What was asked can be read back."""
    record = new_record()
    assert await questions.create(record, enqueue) == record
    assert await questions.read(record.question_id) == record


async def test_creating_queues_the_question(storage: Storage, questions: Records) -> None:
    """The record and the entry of the queue come into being together."""
    await questions.create(new_record(), enqueue)
    assert await storage.commands.xlen(QUEUE) == 1


async def test_the_key_is_the_originals(storage: Storage, questions: Records) -> None:
    """Other programs find the original's six keys as JSON in a plain string."""
    record = await questions.create(new_record(), enqueue)
    stored = json.loads(await storage.commands.get(f"questions:{record.question_id}"))
    assert stored["topic"] == record.topic
    assert stored["topicQuestion"] == record.question
    assert stored["questionId"] == record.question_id
    assert stored["streamName"] == STREAM
    assert stored["streamStartMessageId"] == stored["streamEndMessageId"] == ""


async def test_asking_twice_is_one_question(questions: Records) -> None:
    """A second record under the same id is not stored: the first one is given back."""
    first = await questions.create(new_record("first"), enqueue)
    second = dataclasses.replace(first, job_token="second", question="Something else?")
    assert await questions.create(second, enqueue) == first
    assert await questions.read(first.question_id) == first


async def test_asking_at_once_stores_one_record(storage: Storage, questions: Records) -> None:
    """Fifty records created under one id at once: one is stored and queued, all are given it."""
    record = new_record()
    created = await asyncio.gather(
        *(
            questions.create(dataclasses.replace(record, job_token=str(token)), enqueue)
            for token in range(50)
        )
    )
    assert set(created) == {await questions.read(record.question_id)}
    assert await storage.commands.xlen(QUEUE) == 1


async def test_a_question_that_cannot_be_queued_is_not_stored(
    storage: Storage, questions: Records
) -> None:
    """Where another program has taken the queue's key, nobody waits for an answer in vain."""
    record = new_record()
    await storage.commands.set(QUEUE, "not a stream")
    with pytest.raises(ResponseError):
        await questions.create(record, enqueue)
    await storage.commands.delete(QUEUE)
    assert await questions.create(record, enqueue) == record
    assert await storage.commands.xlen(QUEUE) == 1


async def test_a_repeated_create_finds_its_own_record(storage: Storage) -> None:
    """Where the reply was lost, creating again gives the record of the first time."""
    gate = GatedRedis(storage.commands)
    questions = Records(gated(gate), RETENTION_S)
    record = new_record()
    gate.lose_reply("execute")
    with pytest.raises(RedisConnectionError):
        await questions.create(record, enqueue)
    assert await questions.create(record, enqueue) == record


async def test_a_change_is_stored(questions: Records) -> None:
    """What a change gives back is what stands under the key."""
    record = await questions.create(new_record(), enqueue)
    changed = await questions.change(record.question_id, one_more_lapse)
    assert changed.lapses == 1
    assert await questions.read(record.question_id) == changed


async def test_a_change_that_changes_nothing_writes_nothing(
    storage: Storage, questions: Records
) -> None:
    """A transition that gives back its argument leaves the key alone, expiry included."""
    record = await questions.create(new_record(), enqueue)
    await storage.commands.expire(question_key(record.question_id), 7)
    assert await questions.change(record.question_id, lambda current: current) == record
    assert await storage.commands.ttl(question_key(record.question_id)) <= 7


async def test_a_change_sees_what_came_between(storage: Storage) -> None:
    """A record that changes between reading and writing is read again, not overwritten."""
    gate = GatedRedis(storage.commands)
    questions, others = Records(gated(gate), RETENTION_S), Records(storage, RETENTION_S)
    record = await others.create(new_record(), enqueue)

    async def interfere(name: str) -> None:
        if gate.count("execute") == 1:  # the record has been read, and not yet written
            await others.change(record.question_id, lambda current: current.stopping())

    gate.after = interfere
    changed = await questions.change(record.question_id, one_more_lapse)
    assert (changed.lapses, changed.stop) == (1, True)


async def test_changes_at_once_all_arrive(questions: Records) -> None:
    """More writers at once than a record ever has get their changes in, all of them."""
    record = await questions.create(new_record(), enqueue)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(
            *(questions.change(record.question_id, one_more_lapse) for _ in range(10))
        )
    assert (await questions.read(record.question_id)).lapses == 10


async def test_no_change_is_lost_unnoticed(questions: Records) -> None:
    """A hundred changes at once: each arrives, or fails for its caller to see; none gets lost."""
    record = await questions.create(new_record(), enqueue)
    async with asyncio.timeout(PATIENCE_S):
        outcomes = await asyncio.gather(
            *(questions.change(record.question_id, one_more_lapse) for _ in range(100)),
            return_exceptions=True,
        )
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert all(isinstance(failure, StorageUnavailable) for failure in failed)
    assert (await questions.read(record.question_id)).lapses == 100 - len(failed)


async def test_a_change_repeated_after_a_lost_reply_counts_once(storage: Storage) -> None:
    """An attempt whose reply was lost has begun once, though it was begun again."""
    gate = GatedRedis(storage.commands)
    questions = Records(gated(gate), RETENTION_S)
    record = await questions.create(new_record(), enqueue)
    gate.lose_reply("execute", skip=1)  # that of the change, not that of the reading
    begun = await insist(
        lambda: questions.change(record.question_id, lambda current: current.begun("owner", None))
    )
    assert begun.attempt == 1
    assert (await questions.read(record.question_id)).attempt == 1


async def test_every_write_sets_the_expiry(storage: Storage, questions: Records) -> None:
    """A record expires a retention after its creation, and after its last change."""
    record = await questions.create(new_record(), enqueue)
    key = question_key(record.question_id)
    assert 90 < await storage.commands.ttl(key) <= RETENTION_S
    await storage.commands.expire(key, 7)
    await questions.change(record.question_id, one_more_lapse)
    assert 90 < await storage.commands.ttl(key) <= RETENTION_S


async def test_asking_again_does_not_prolong_a_record(storage: Storage, questions: Records) -> None:
    """A repeated question leaves the expiry of the first one as it is."""
    record = await questions.create(new_record(), enqueue)
    await storage.commands.expire(question_key(record.question_id), 7)
    await questions.create(record, enqueue)
    assert 0 < await storage.commands.ttl(question_key(record.question_id)) <= 7


async def test_the_shortest_retention_still_stores(storage: Storage) -> None:
    """A retention below a second is rounded up: Redis refuses an expiry of zero."""
    questions = Records(storage, 0.1)
    record = await questions.create(new_record(), enqueue)
    assert await questions.read(record.question_id) == record


async def test_a_missing_record_is_expired(questions: Records) -> None:
    """Nothing under this id: reading and changing say that it is expired."""
    with pytest.raises(Expired):
        await questions.read("nobody asked this")
    with pytest.raises(Expired):
        await questions.change("nobody asked this", one_more_lapse)


async def test_a_change_does_not_bring_a_record_back(storage: Storage, questions: Records) -> None:
    """Changing a record that is gone creates none."""
    with pytest.raises(Expired):
        await questions.change("nobody asked this", one_more_lapse)
    assert await storage.commands.keys() == []


@pytest.mark.parametrize(
    "garbage",
    ["", "{", "null", "7", '"topic"', "[]", "{}", '{"topic": "Redis"}', '{"status": "done"}'],
)
async def test_garbage_is_expired(storage: Storage, questions: Records, garbage: str) -> None:
    """A value that is no record of ours counts as gone, wherever it is met."""
    await storage.commands.set(question_key("id"), garbage)
    with pytest.raises(Expired):
        await questions.read("id")
    with pytest.raises(Expired):
        await questions.change("id", one_more_lapse)
    assert await questions.read_many(["id"]) == [None]


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempt": "two"},
        {"status": "asleep"},
        {"streamName": None},
        {"cursor": 7},
        {"error": "text"},
        {"error": {"code": "expired"}},
    ],
    ids=str,
)
async def test_a_record_with_wrong_values_is_expired(
    storage: Storage, questions: Records, wrong: dict[str, object]
) -> None:
    """A record whose values have the wrong types counts as gone, before anybody trips over it."""
    record = new_record()
    broken = json.loads(record.to_json()) | wrong
    await storage.commands.set(question_key(record.question_id), json.dumps(broken))
    with pytest.raises(Expired):
        await questions.read(record.question_id)


async def test_unknown_keys_of_other_programs_are_ignored(
    storage: Storage, questions: Records
) -> None:
    """A record that another program has added a key to is still a record."""
    record = new_record()
    extended = json.loads(record.to_json()) | {"likes": 3}
    await storage.commands.set(question_key(record.question_id), json.dumps(extended))
    assert await questions.read(record.question_id) == record


async def test_many_records_are_read_in_order(storage: Storage) -> None:
    """Records are read in one round trip, in the order asked for, with gaps where there is none."""
    gate = GatedRedis(storage.commands)
    questions = Records(gated(gate), RETENTION_S)
    first = await questions.create(new_record(), enqueue)
    second = await questions.create(new_record(), enqueue)
    before = gate.count("execute")
    found = await questions.read_many([second.question_id, "unknown", first.question_id])
    assert found == [second, None, first]
    assert gate.count("execute") == before + 1


async def test_no_records_are_read_without_a_fault(questions: Records) -> None:
    """Reading the records of nobody gives nothing."""
    assert await questions.read_many([]) == []
