"""`replay`: a stored answer, read from Redis as a server reads it."""

import json
from argparse import Namespace
from contextlib import aclosing

from ..app import ServerParts, SharedParts
from ..protocol import requests
from ..protocol.errors import InvalidRequest
from ..protocol.record import Record
from ..protocol.transcript import Transcript
from ..runtime.background_tasks import BackgroundTasks
from ..settings import Settings, SettingsError
from ..store.answer_log import AnswerLog
from ..store.connection import connect
from .console import OK, RESTARTED, complain, remark, say
from .environment import read_settings, require
from .screen import Screen
from .stored import querying, run_query


def replay(options: Namespace) -> int:
    """Print an answer as far as it stands, or with --follow to its end."""
    try:
        question_id = requests.parse_stop({"questionId": options.id})
    except InvalidRequest as exc:
        raise SettingsError(str(exc)) from None
    settings = read_settings()
    require(settings, "REDIS_URL")
    return run_query(_replay(settings, question_id, options))


async def _replay(settings: Settings, question_id: str, options: Namespace) -> int:
    screen = Screen(silent=options.json, reasoning=options.reasoning)
    async with querying(settings) as (storage, questions):
        record = await questions.read(question_id)
        if record.ended or not options.follow:
            transcript = await AnswerLog(storage.commands).transcript(record)
    if record.ended or not options.follow:
        await screen.thought(transcript.reasoning)
        await screen.piece(transcript.text)
    else:
        transcript = await _follow(settings, record, screen)
    return _conclude(record, transcript, screen, as_json=options.json)


async def _follow(settings: Settings, record: Record, screen: Screen) -> Transcript:
    """Show the answer while it is written, as a server would; returns it with its end."""
    shared = SharedParts(connect(settings.redis_url), settings)
    server = ServerParts(shared)
    transcript = Transcript()
    async with (
        shared.storage,
        BackgroundTasks(server.tail.run),
        aclosing(server.answers.follow(record)) as entries,
    ):
        async for entry in entries:
            transcript.add(entry)
            if entry.is_start and (transcript.last_words or transcript.last_reasoning):
                screen.restarted(entry.attempt)
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
    if not screen.has_void_text:
        return OK
    complain("the answer stands behind the text of an attempt that broke off")
    return RESTARTED
