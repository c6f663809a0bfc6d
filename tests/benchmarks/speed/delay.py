"""How late pieces are: from the model's write to the client's receipt."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

import aiohttp

from tests.benchmarks.client import Answer
from tests.fakes.openai_endpoint import answer_pieces


async def delays_ms(model_url: str, answers: Sequence[Answer]) -> list[float]:
    """The delay of every piece of these answers. Both ends read the same clock, of this machine."""
    delays: list[float] = []
    url = model_url.removesuffix("/v1")
    async with aiohttp.ClientSession() as http:
        for answer in answers:
            async with http.get(f"{url}/sent", params={"question": answer.question}) as response:
                delays += piece_delays_ms(answer, await response.json())
    return delays


def piece_delays_ms(answer: Answer, sent_at: Sequence[float]) -> list[float]:
    """The delay of each piece of one answer: it has come when its last character has."""
    received = [chars for _, chars in answer.arrivals]
    ends = itertools.accumulate(map(len, answer_pieces(answer.question, len(sent_at))))
    return [
        (answer.arrivals[bisect.bisect_left(received, end)][0] - at) * 1000
        for at, end in zip(sent_at, ends, strict=True)
    ]
