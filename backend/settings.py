"""Every setting with its default, unit and bounds; read once, from the environment."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from .protocol.networks import parse_networks
from .protocol.requests import GROUP_ID_PREFIX
from .protocol.stream_names import StreamNames

MIN_SECRET_BYTES = 32  # of a key for HS256: RFC 7518, section 3.2

SYSTEM_PROMPT = (
    "You answer questions about {topic} and know the subject well. "
    'Take every question as one about "{topic}", and keep to it.'
)

NEEDS_PROVIDERS = (
    "MODEL names another provider than OpenAI, for which a package is missing: "
    'pip install "streaming-llm-output[providers]"'
)

# Names in MODEL_PARAMETERS that other settings, or the way in which answers are read, decide.
RESERVED_PARAMETERS = frozenset({
    "async_client", "cache", "client", "messages", "model", "model_name", "model_provider", "n",
    "root_async_client", "stream", "stream_chunk_timeout", "stream_usage", "streaming",
})  # fmt: skip


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names the variable."""


def _setting(
    default: Any,
    about: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    secret: bool = False,
    may_be_empty: bool = False,
) -> Any:
    metadata = {
        "about": about,
        "low": low,
        "high": high,
        "choices": choices,
        "may_be_empty": may_be_empty,
    }
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration of a process. The variable of a field is its name in capitals."""

    # What the Node original reads, too.
    openai_api_key: str = _setting("", "key of the model's provider", secret=True)
    openai_organization: str = _setting("", "organization at the provider")
    redis_url: str = _setting("", "redis://, rediss:// or unix:// address", secret=True)

    # Where things are.
    openai_base_url: str = _setting("", "any OpenAI-compatible server; empty: OpenAI's own")
    openai_model: str = _setting("gpt-6-luna", "name of the chat model")
    host: str = _setting("", "address to listen on; empty: every interface, as the original")
    port: int = _setting(3000, "port of the backend; 0 picks a free one", low=0, high=65535)
    frontend_port: int = _setting(5400, "port of the page, with --with-frontend", low=0, high=65535)
    openai_stream: str = _setting(
        "OPENAI_STREAM", "stream of answers; {questionId}, {userId} in it make many"
    )
    use_xread: bool = _setting(
        True, "false: a stream and a consumer group for each user, with acknowledgements"
    )

    # Who may come in.
    auth_secret: str = _setting(
        "", "secret of HS256 tokens, at least 32 bytes; empty: no identity", secret=True
    )
    auth_public_key: str = _setting("", "PEM key of RS256 or ES256 tokens, with \\n for its lines")
    auth_jwks_url: str = _setting("", "where the keys of RS256 and ES256 tokens are published")
    auth_audience: str = _setting("", "audience that tokens have to be for; empty: any")
    auth_issuer: str = _setting("", "issuer that tokens have to be from; empty: any")
    cors_origins: str = _setting("*", "origins of pages that may use this server, with commas")
    trusted_proxies: str = _setting(
        "", "addresses and networks whose X-Forwarded-For is believed, with commas"
    )

    # What one may ask, 0: without a limit. Users count where tokens say who they are.
    asks_per_minute: int = _setting(
        600, "questions a minute, of a user and of an address", low=0, high=1_000_000
    )
    max_running_per_user: int = _setting(
        100, "questions of one user that run at once", low=0, high=1_000_000
    )
    max_running_per_address: int = _setting(
        1_000, "questions from one address that run at once", low=0, high=1_000_000
    )
    max_queued: int = _setting(
        10_000, "questions that wait for a worker before more are refused", low=0, high=10_000_000
    )
    max_sockets: int = _setting(10_000, "sockets that a server holds", low=0, high=1_000_000)
    max_sockets_per_address: int = _setting(
        5_000, "sockets from one address that a server holds", low=0, high=1_000_000
    )
    max_message_bytes: int = _setting(
        1_000_000, "longest message over a socket", low=100_000, high=100_000_000
    )

    # What a question may be.
    max_topic_chars: int = _setting(200, "longest topic, in characters", low=1, high=10_000)
    max_question_chars: int = _setting(8_000, "longest question, in characters", low=1, high=50_000)
    max_followed_per_socket: int = _setting(
        64, "answers that one socket may follow at once", low=1, high=10_000
    )
    max_answer_chars: int = _setting(
        1_000_000, "longest answer, in characters; it is cut there", low=1, high=100_000_000
    )

    # How the model is asked.
    model: str = _setting(
        "", "<provider>:<name>, any provider of LangChain; empty: OPENAI_MODEL of OpenAI"
    )
    openai_reasoning_effort: str = _setting(
        "", "how much the model thinks: none, low, medium, ...; empty: as it likes"
    )
    model_parameters: str = _setting(
        "",
        'JSON object of what else the model is to be given, such as {"temperature": 0.2}',
        secret=True,
    )
    system_prompt: str = _setting(
        SYSTEM_PROMPT,
        "what the model is told first; {topic} in it is the topic; empty: nothing",
        may_be_empty=True,
    )
    stream_reasoning: bool = _setting(True, "false: what a model thinks is not passed on")

    # The model's patience, and ours.
    model_first_piece_timeout_s: float = _setting(
        300.0,
        "seconds of silence before the text begins, retries included",
        low=0.01,
        high=3600,
    )
    model_thinking_timeout_s: float = _setting(
        600.0, "seconds until the first piece of text, however much is thought", low=0.01, high=3600
    )
    model_idle_timeout_s: float = _setting(
        30.0, "seconds of silence once the text has begun", low=0.01, high=3600
    )
    answer_timeout_s: float = _setting(
        1200.0, "seconds a whole answer may take", low=0.01, high=86_400
    )
    model_retries: int = _setting(
        2, "tries after the first, before the first piece", low=0, high=10
    )

    # The worker.
    worker_concurrency: int = _setting(
        500, "answers that one worker process writes at once", low=1, high=10_000
    )
    write_linger_ms: int = _setting(
        25, "milliseconds for which pieces gather; never for a first one", low=0, high=1_000
    )
    max_attempts: int = _setting(
        3, "attempts at a question before it ends as interrupted", low=1, high=100
    )
    lease_s: float = _setting(
        10.0, "seconds after which a silent worker's question is taken over", low=0.5, high=3600
    )
    shutdown_grace_s: float = _setting(
        5.0, "seconds that running answers get to finish at SIGTERM", low=0, high=3600
    )

    # Redis stays bounded.
    retention_s: float = _setting(
        86_400.0, "seconds that answers are kept (24 h)", low=1, high=31_536_000
    )

    # What operators see.
    log_format: str = _setting("text", "text, or json: an object a line", choices=("text", "json"))
    log_level: str = _setting(
        "info", "debug, info, warning or error", choices=("debug", "info", "warning", "error")
    )
    worker_metrics_port: int = _setting(
        0, "port of /metrics of a worker alone; 0: none", low=0, high=65535
    )

    @property
    def origins(self) -> list[str] | None:
        """The origins that may use the server; None: every one."""
        names = [name.strip().rstrip("/") for name in self.cors_origins.split(",") if name.strip()]
        return None if "*" in names else names

    @property
    def model_provider(self) -> str:
        """The provider of LangChain that MODEL names; `openai` where it names none."""
        return self.model.partition(":")[0] or "openai"

    @property
    def model_name(self) -> str:
        """The name of the model at its provider."""
        return self.model.partition(":")[2] or self.openai_model

    @property
    def model_setting(self) -> str:
        """The variable that names the model."""
        return "MODEL" if self.model else "OPENAI_MODEL"

    @property
    def streams(self) -> StreamNames:
        """The names of the streams that answers stand in; with consumer groups, one per user."""
        return StreamNames(
            self.openai_stream if self.use_xread else f"{self.openai_stream}:{{userId}}"
        )

    @property
    def question_id_prefix(self) -> str:
        """What stands before the UUID of a question for which its client has chosen no id."""
        return "" if self.use_xread else GROUP_ID_PREFIX

    @property
    def keep_s(self) -> float:
        """Seconds from its last START or END after which a stream has nothing worth keeping."""
        return self.retention_s + self.answer_timeout_s

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read and check every setting.

        An empty variable counts as missing, unless the setting may be empty. Raises
        SettingsError, which names the variable and never shows the value of a secret.
        """
        values = {}
        for setting in fields(cls):
            name = setting.name.upper()
            raw = env.get(name, "").strip()
            if raw or (name in env and setting.metadata["may_be_empty"]):
                values[setting.name] = _parse(name, raw, setting.type, setting.metadata)
        settings = cls(**values)
        settings._check_addresses()
        settings._check_model()
        settings._check_stream()
        settings._check_identity()
        return settings

    def _check_addresses(self) -> None:
        for name, url, schemes in (
            ("REDIS_URL", self.redis_url, ("redis", "rediss", "unix")),
            ("OPENAI_BASE_URL", self.openai_base_url, ("http", "https")),
            ("AUTH_JWKS_URL", self.auth_jwks_url, ("http", "https")),
        ):
            if url and not _is_url(url, schemes):
                raise SettingsError(
                    f"{name} is not a valid address: it has to start with "
                    + " or ".join(f"{scheme}://" for scheme in schemes)
                )

    def _check_model(self) -> None:
        if self.model and not re.fullmatch(r"[a-z][a-z0-9_]*:\S+", self.model):
            raise SettingsError("MODEL has to be <provider>:<name>, such as anthropic:claude-...")
        if not re.fullmatch(r"[a-z]*", self.openai_reasoning_effort):
            raise SettingsError("OPENAI_REASONING_EFFORT has to be a word, such as low")
        parse_parameters(self.model_parameters)

    def _check_stream(self) -> None:
        try:
            streams = StreamNames(self.openai_stream)
        except ValueError as exc:
            raise SettingsError(f"OPENAI_STREAM is not a valid name: {exc}") from None
        if not (self.use_xread or streams.shared):
            raise SettingsError(
                "OPENAI_STREAM is the beginning of each user's stream with USE_XREAD=false,"
                " and must not have anything in braces"
            )

    def _check_identity(self) -> None:
        chosen = [
            name
            for name in ("auth_secret", "auth_public_key", "auth_jwks_url")
            if getattr(self, name)
        ]
        if len(chosen) > 1:
            first, second, *_ = map(str.upper, chosen)
            raise SettingsError(f"{second} says who may come in, and so does {first}: choose one")
        if self.auth_secret and len(self.auth_secret.encode()) < MIN_SECRET_BYTES:
            raise SettingsError(f"AUTH_SECRET has to have at least {MIN_SECRET_BYTES} bytes")
        for origin in self.origins or []:
            if not _is_url(origin, ("http", "https")) or urlsplit(origin).path:
                raise SettingsError(f"CORS_ORIGINS has to be *, or origins, not {origin!r}")
        try:
            parse_networks(self.trusted_proxies)
        except ValueError as exc:
            raise SettingsError(f"TRUSTED_PROXIES is not valid: {exc}") from None


def parse_parameters(raw: str) -> dict[str, Any]:
    """Read MODEL_PARAMETERS; raises SettingsError, which shows no value."""
    try:
        parameters = json.loads(raw or "{}")
    except (ValueError, RecursionError) as exc:
        raise SettingsError(f"MODEL_PARAMETERS is no JSON: {type(exc).__name__}") from None
    if not isinstance(parameters, dict):
        raise SettingsError("MODEL_PARAMETERS has to be a JSON object: {...}")
    for name in RESERVED_PARAMETERS & parameters.keys():
        raise SettingsError(f"MODEL_PARAMETERS must not set {name}: other settings decide it")
    return parameters


def _is_url(url: str, schemes: tuple[str, ...]) -> bool:
    if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        return False
    try:
        parts = urlsplit(url)
        place = parts.path if parts.scheme == "unix" else parts.hostname
        return bool(place) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def _parse(name: str, raw: str, kind: Any, metadata: Mapping[str, Any]) -> Any:
    if kind is bool:
        return _parse_bool(name, raw)
    if kind is str:
        return _parse_choice(name, raw, metadata["choices"])
    try:
        value = kind(raw)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{name} has to be {noun}, not {raw!r}") from None
    if not metadata["low"] <= value <= metadata["high"]:  # also refuses nan
        raise SettingsError(
            f"{name} has to be between {metadata['low']} and {metadata['high']}, not {raw}"
        )
    return value


def _parse_choice(name: str, raw: str, choices: tuple[str, ...]) -> str:
    if not choices:
        return raw
    if raw.lower() not in choices:
        raise SettingsError(f"{name} has to be {' or '.join(choices)}, not {raw!r}")
    return raw.lower()


def _parse_bool(name: str, raw: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    try:
        return words[raw.lower()]
    except KeyError:
        raise SettingsError(f"{name} has to be true or false, not {raw!r}") from None
