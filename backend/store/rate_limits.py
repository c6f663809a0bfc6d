"""What limits count for all servers together: a token bucket and the running questions.

Each is one small script on one key, so that it works wherever the key is. A `subject` is
a user or an address, as a part of the key's name.
"""

from .pipelining import Pipelining

# The generic cell rate algorithm, a token bucket that is one number: the time at which the
# bucket will be full again, in microseconds. ARGV: microseconds a token, tokens a bucket.
# Returns the microseconds until a token is there; 0: one was taken.
BUCKET_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + ARGV[1]
local wait = full_at - now - ARGV[1] * ARGV[2]
if wait > 0 then return math.ceil(wait) end
local ttl_ms = math.ceil((full_at - now) / 1000)
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', ttl_ms)
return 0
"""

# Members are questions, scores the Redis times at which they have ended for certain, in
# seconds. ARGV: a question, for how long it may run, how many may. Returns the questions
# that run, where that is one too many; else adds this one and returns none.
RUNNING_SCRIPT = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3])
then return redis.call('ZRANGE', KEYS[1], 0, -1) end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {}
"""


async def take_token(pipelining: Pipelining, subject: str, per_minute: int) -> float:
    """Take a token from a bucket of `per_minute`; returns the seconds until there is one, or 0."""
    key, token_us = f"OPENAI_LIMITS:asks:{subject}", round(60_000_000 / per_minute)
    wait_us = await pipelining.send("EVAL", BUCKET_SCRIPT, 1, key, token_us, per_minute)
    return int(wait_us) / 1_000_000


async def add_running(
    pipelining: Pipelining, subject: str, question_id: str, *, max_running: int, longest_s: int
) -> list[str]:
    """Count a question that runs, for `longest_s`; one that is counted already is not one more.

    Where `max_running` of the subject's questions run already, returns them and counts nothing.
    """
    running: list[str] = await pipelining.send(
        "EVAL", RUNNING_SCRIPT, 1, _running_key(subject), question_id, longest_s, max_running
    )
    return running


async def remove_running(pipelining: Pipelining, subject: str, question_ids: list[str]) -> None:
    """Count questions no longer."""
    await pipelining.send("ZREM", _running_key(subject), *question_ids)


def _running_key(subject: str) -> str:
    return f"OPENAI_LIMITS:running:{subject}"
