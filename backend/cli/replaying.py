"""`replay`: a stored answer, read from Redis as a server reads it."""

import json
from argparse import Namespace
from contextlib import aclosing

from ..app import Backend, load_configured_chain
from ..protocol import requests
from ..protocol.entries import entry_order
from ..protocol.errors import InvalidRequest
from ..protocol.record import Record
from ..protocol.transcript import Transcript
from ..runtime.task_groups import Parts
from ..settings import Settings, SettingsError
from ..store.archive import Archive
from ..store.connection import connect
from ..store.stream_history import History
from .console import BEGUN_ANEW, OK, complain, remark, say
from .environment import read_settings, require
from .screen import Screen
from .stored import looking, run_look

BEHIND_ALL = f"{2**64 - 1}-{2**64 - 1}"  # no entry id is higher


def replay(options: Namespace) -> int:
    """Print an answer as far as it stands, or with --follow to its end."""
    try:
        question_id = requests.parse_stop({"questionId": options.id})
    except InvalidRequest as exc:
        raise SettingsError(str(exc)) from None
    settings = read_settings()
    require(settings, "REDIS_URL")
    return run_look(_replay(settings, question_id, options))


async def _replay(settings: Settings, question_id: str, options: Namespace) -> int:
    screen = Screen(silent=options.json, reasoning=options.reasoning)
    async with looking(settings) as (storage, questions):
        record = await questions.read(question_id)
        if record.ended or not options.follow:
            history = History(storage.commands, Archive(storage.commands, settings.retention_s))
            transcript = await history.transcript(record, _behind(record))
    if record.ended or not options.follow:
        await screen.thought(transcript.reasoning)
        await screen.piece(transcript.text)
    else:
        transcript = await _follow(settings, record, screen)
    return _conclude(record, transcript, screen, as_json=options.json)


def _behind(record: Record) -> str:
    """An id right behind the answer: what others have written since is not read."""
    if not record.end_id:
        return BEHIND_ALL
    ms, sequence = entry_order(record.end_id)
    return f"{ms}-{sequence + 1}"


async def _follow(settings: Settings, record: Record, screen: Screen) -> Transcript:
    """Show the answer while it is written, as a server would; returns it with its end."""
    backend = Backend(connect(settings.redis_url), settings, load_configured_chain)
    transcript = Transcript()
    async with (
        backend.storage,
        Parts(backend.tail.run),
        aclosing(backend.answers.follow(record)) as entries,
    ):
        async for entry in entries:
            transcript.add(entry)
            if entry.is_start and (transcript.last_words or transcript.last_reasoning):
                screen.begun_anew(entry.attempt)
            if entry.is_piece:
                await screen.thought(entry.reasoning)
                await screen.piece(entry.text)
    return transcript


def _conclude(record: Record, transcript: Transcript, screen: Screen, *, as_json: bool) -> int:
    """Say how the answer ended, if it has; returns the exit code."""
    ending = transcript.ending
    status = ending.status if ending else record.status
    error = ending.error if ending else record.error
    if as_json:
        usage = ending.usage if ending else record.usage
        told = {
            "questionId": record.question_id,
            "status": status,
            "text": transcript.text,
            "reasoning": transcript.reasoning,
            "error": error,
            "finishReason": ending.finish_reason if ending else record.finish_reason,
            "usage": usage.payload if usage else None,
            "model": ending.model if ending else record.model,
            "attempt": transcript.fold.attempt,
            "askedAt": record.asked_at_ms,
            "endedAt": record.ended_at_ms or None,
        }
        say(json.dumps(told))
    screen.end()
    remark(f"{status} ({error['code']})" if error else status)
    if not screen.is_spoilt:
        return OK
    complain("the answer stands behind the text of an attempt that broke off")
    return BEGUN_ANEW
