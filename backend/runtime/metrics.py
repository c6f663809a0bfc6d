"""The metrics of a process, each with its name, unit and labels.

The names are an interface: dashboards and alerts are built on them. A label has few
values, which our code knows; ids and users are never among them.
"""

import platform

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from ..protocol.entries import Ending, FinalStatus, Status, Usage
from ..protocol.errors import AnswerError, AppError, RequestError, codes
from ..protocol.record import Record
from .version import __version__

PREFIX = "streaming_llm"
REQUESTS = ("connect", "ask", "resume", "stop", "post")
LIMITS = (
    "asks_per_minute",
    "max_running_per_user",
    "max_running_per_address",
    "max_queued",
    "max_sockets",
    "max_sockets_per_address",
    "max_followed_per_socket",
    "max_answer_chars",
)

MAX_MODELS = 16  # names of models that have series of their own
OTHER_MODELS = "other"

# Series that exist from the start: rate() does not see the increase with which one appears.
_FAILURE_CODES = sorted(codes(AnswerError))
_REFUSAL_CODES = sorted(codes(RequestError))
_STATUSES: tuple[Status, ...] = ("queued", "running", "done", "stopped", "failed")

# Upper bounds in seconds. The first are what people notice, the last what the settings allow.
_FIRST_PIECE_S = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30, 60)
_ANSWER_S = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
_QUEUE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics:
    """The metrics of one process, in a registry of their own.

    A process that has no server, or no worker, shows that part's metrics as 0.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._build_info()

        # What a server does.
        self.accepted = self._counter("questions_accepted", "Questions that were new and queued")
        self._refusals = self._counter(
            "refusals", "Requests of clients that were refused", "request", "code"
        )
        self._resumes = self._counter(
            "resumes", "Answers read again or on, by the status of the question then", "status"
        )
        self._limits = self._counter("limits_hit", "Times that a limit held a client back", "limit")
        self.overruns = self._counter(
            "slow_reader_overruns", "Live feeds dropped because their client was too far behind"
        )
        self.sockets = self._gauge("sockets", "Connected Socket.IO clients")
        self.readers = self._gauge("readers", "Answers being sent to sockets")
        self.tail_age = self._gauge(
            "tail_read_age_seconds", "Time since Redis last answered the reading of streams"
        )

        # What a worker does.
        self._ended = self._counter(
            "questions_ended", "Questions that ended; code is empty unless failed", "status", "code"
        )
        self.running = self._gauge("questions_running", "Questions in work in this process")
        self._queued = self._histogram(
            "queue_wait_seconds", "From asked to the START of the first attempt", _QUEUE_S
        )
        self._first_piece = self._histogram(
            "first_piece_seconds", "From asked to the first piece in the stream", _FIRST_PIECE_S
        )
        self._answer = self._histogram(
            "answer_seconds", "From the START of the last attempt to its END", _ANSWER_S, "status"
        )
        self.pieces = self._counter("pieces", "Pieces that models gave")
        self.entries = self._counter("entries_written", "Entries written to answer streams")
        self._tokens = self._counter(
            "model_tokens", "Tokens of whole answers, where the provider tells", "kind", "model"
        )
        self._models: set[str] = set()
        self._takeovers = self._counter("takeovers", "Answers restarted after a worker fell silent")
        self._handovers = self._counter("handovers", "Answers restarted after a worker shut down")

        # What both do.
        self.event_loop_lag = self._histogram(
            "event_loop_lag_seconds", "How much later than due a timer ran", _LAG_S
        )
        self._ended.labels("done", "")
        self._ended.labels("stopped", "")
        for code in _FAILURE_CODES:
            self._ended.labels("failed", code)

    def serve(self) -> None:
        """Create the labelled series of a server, all at 0."""
        for request in REQUESTS:
            for code in _REFUSAL_CODES:
                self._refusals.labels(request, code)
        for status in _STATUSES:
            self._resumes.labels(status)
        for limit in LIMITS:
            self._limits.labels(limit)

    def refused(self, request: str, error: AppError) -> None:
        """Count a request, one of REQUESTS, that was answered with an error."""
        self._refusals.labels(request, error.code).inc()
        if error.limit:
            self.limit_hit(error.limit)

    def resumed(self, status: Status) -> None:
        """Count a resume of a question with this status."""
        self._resumes.labels(status).inc()

    def limit_hit(self, limit: str) -> None:
        """Count that a limit, one of LIMITS, was reached."""
        self._limits.labels(limit).inc()

    def ended(self, ending: Ending) -> None:
        """Count the end of a question."""
        self._ended.labels(ending.status, ending.error["code"] if ending.error else "").inc()

    def restarted(self, before: Record, now: Record) -> None:
        """Count an attempt that follows another one, by why that ended: lapsed lease or handover.

        The next worker counts: the last counts of one that exits are never scraped.
        """
        self._takeovers.inc(now.lapses - before.lapses)
        self._handovers.inc(before.released)

    def started(self, asked_ms: int, started_ms: int) -> None:
        """Count a first attempt; both are times of Redis."""
        self._queued.observe(max(0, started_ms - asked_ms) / 1000)

    def first_piece(self, asked_ms: int, written_ms: int) -> None:
        """Count a first piece; both are times of Redis."""
        self._first_piece.observe(max(0, written_ms - asked_ms) / 1000)

    def answered(self, status: FinalStatus, seconds: float) -> None:
        """Count an attempt that ended its question."""
        self._answer.labels(status).observe(seconds)

    def tokens_used(self, usage: Usage | None, model: str | None) -> None:
        """Count the tokens of an answer, as far as its provider reports them."""
        if not usage:
            return
        name = self._known_model(model or "")
        for kind, tokens in (
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("reasoning", usage.reasoning_tokens),
        ):
            if tokens is not None:
                self._tokens.labels(kind, name).inc(tokens)

    def _known_model(self, name: str) -> str:
        """A model name as a label; beyond MAX_MODELS they share one: providers may invent names."""
        if len(self._models) < MAX_MODELS:
            self._models.add(name)
        return name if name in self._models else OTHER_MODELS

    def _build_info(self) -> None:
        build = self._gauge("build_info", "What runs here; always 1", "version", "python_version")
        build.labels(__version__, platform.python_version()).set(1)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", about, labels, registry=self.registry)

    def _histogram(
        self, name: str, about: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", about, labels, registry=self.registry, buckets=buckets)
