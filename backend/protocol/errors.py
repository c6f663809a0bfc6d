"""Error types, each with what a client sees of it: code, retryable, HTTP status and message.

AppError                     internal_error       a fault of ours
├── RequestError                                  a request is refused; nothing of it is queued
│   ├── InvalidRequest       invalid_request      the payload is not what the contract asks for
│   │   └── IdTaken                               the id stands for another question
│   ├── Unauthorized         unauthorized         no valid token, or somebody else's question
│   │   └── IdentityUnavailable                   the keys to check tokens with cannot be fetched
│   ├── RateLimited          rate_limited         too many questions a minute
│   ├── Busy                 busy                 a limit of ours is reached; retry later
│   ├── ShuttingDown         busy                 this process is about to end; retry elsewhere
│   ├── Expired              expired              nothing (whole) is stored under this id
│   └── StorageUnavailable   storage_unavailable  Redis does not answer
└── AnswerError                                   an accepted question fails; its END tells why
    ├── Interrupted          interrupted          every attempt was cut off by a crash
    └── ModelFailure
        ├── ModelRateLimited rate_limited         the provider answered 429
        ├── ModelUnavailable model_unavailable    the provider cannot be reached or answered 5xx
        │   └── ModelOverloaded                   the provider has too much to do: 503, 529
        ├── ModelTimeout     model_timeout        the provider kept silent for too long
        └── ModelError       model_error          the provider's answer is broken
            ├── EmptyAnswer                       the model has ended without any text
            └── ModelRefused                      the same request will be refused again:
                ├── KeyRefused                    a wrong key
                ├── CreditExhausted               no credit left
                ├── ModelUnknown                  no such model, or not any more
                ├── ContextTooLong                more text than the model takes
                ├── PolicyRefused                 against the provider's content policy
                └── ParameterRefused              a parameter that the model does not take

A new code is one class below RequestError or AnswerError, and a row of the table in the README.md
at the top; metrics and HTTP take it from here.

The message of an error is written by us, for the person who asked: it never
holds the text of a library's exception, which may quote keys or questions.
"""

import traceback
from typing import ClassVar, NotRequired, TypedDict


class ErrorPayload(TypedDict):
    """An error as clients receive it, in acknowledgements, in meta and over HTTP."""

    code: str
    message: str
    retryable: bool
    retryAfterS: NotRequired[int]


class AppError(Exception):
    """Base of every failure that a client may be told about."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = True
    http_status: ClassVar[int] = 500  # the original's, for whatever goes wrong
    default_message: ClassVar[str] = "Something went wrong on our side."

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_s: int | None = None,
        limit: str = "",
        detail: str = "",
    ) -> None:
        super().__init__(message or self.default_message)
        self.retry_after_s = retry_after_s
        self.limit = limit  # the setting that was reached, if it was one
        self.detail = detail  # for the log alone: identifiers, no text of users or models

    @property
    def payload(self) -> ErrorPayload:
        """What is sent to clients and stored with the END entry."""
        payload: ErrorPayload = {
            "code": self.code,
            "message": str(self),
            "retryable": self.retryable,
        }
        if self.retry_after_s is not None:
            payload["retryAfterS"] = self.retry_after_s
        return payload


class RequestError(AppError):
    """Base of the reasons to refuse a request: told in its acknowledgement or HTTP response."""


class InvalidRequest(RequestError):
    """The payload of an event or a request is not what the contract asks for."""

    code = "invalid_request"
    retryable = False
    http_status = 400
    default_message = "The request is not valid."


class IdTaken(InvalidRequest):
    """The id that a client chose already stands for another question."""

    default_message = "questionId already stands for another question."


class Unauthorized(RequestError):
    """There is no valid token, or the question is somebody else's."""

    code = "unauthorized"
    retryable = False
    http_status = 401
    default_message = "This is not allowed."


class IdentityUnavailable(Unauthorized):
    """The keys to check tokens with cannot be fetched."""

    retryable = True
    http_status = 500  # the token may be valid: a 401 would make clients ask for another one
    default_message = "The token cannot be checked right now. Please try again."


class RateLimited(RequestError):
    """Somebody has asked too many questions in too short a time."""

    code = "rate_limited"
    http_status = 429
    default_message = "You are asking too fast. Please wait a moment."


class Busy(RequestError):
    """A limit of this server is reached."""

    code = "busy"
    default_message = "The server is busy. Please try again in a moment."


class ShuttingDown(RequestError):
    """The process takes no new questions because it is about to end."""

    code = "busy"
    default_message = "The server is restarting. Please try again in a moment."


class Expired(RequestError):
    """Nothing is stored under this id, or not all of it any more.

    Raised while an answer is read as well, where an entry of it is missing.
    """

    code = "expired"
    retryable = False
    default_message = "This answer is not stored, or not completely stored, any more."


class StorageUnavailable(RequestError):
    """Redis did not answer in time."""

    code = "storage_unavailable"
    default_message = "The answer store is not available right now. Please try again."


class AnswerError(AppError):
    """Base of the reasons why an accepted question fails: stored with its END."""


class Interrupted(AnswerError):
    """Every attempt at this question was cut off by a crash."""

    code = "interrupted"
    default_message = "The answer was interrupted too often. Please ask again."


class ModelFailure(AnswerError):
    """Base of the ways in which a language model fails."""


class ModelRateLimited(ModelFailure):
    """The model's provider answered 429."""

    code = "rate_limited"
    default_message = "The language model is getting too many requests. Please try again later."


class ModelUnavailable(ModelFailure):
    """The model's provider cannot be reached, or answered with a 5xx."""

    code = "model_unavailable"
    default_message = "The language model cannot be reached right now."


class ModelOverloaded(ModelUnavailable):
    """The model's provider has too much to do: it answered 503 or 529."""

    default_message = "The language model's provider is overloaded. Please try again later."


class ModelTimeout(ModelFailure):
    """The model's provider kept silent for too long."""

    code = "model_timeout"
    default_message = "The language model took too long to answer."


class ModelError(ModelFailure):
    """The answer of the model's provider is broken, or there is none."""

    code = "model_error"
    default_message = "The language model failed to complete the answer."


class EmptyAnswer(ModelError):
    """The model has ended without any text."""

    default_message = "The language model ended without any text."


class ModelRefused(ModelError):
    """The model's provider will refuse this request again."""

    retryable = False
    default_message = "The language model refused the request; check the server's settings."


class KeyRefused(ModelRefused):
    """The model's provider does not accept the key, or does not let it have the model."""

    default_message = "The language model's provider does not accept this server's key."


class CreditExhausted(ModelRefused):
    """The account at the model's provider has no credit left."""

    default_message = "This server's credit at the language model's provider is used up."


class ModelUnknown(ModelRefused):
    """The provider does not know the model, or has retired it."""

    default_message = "The model is not available at this provider."


class ContextTooLong(ModelRefused):
    """The question, with what goes with it, is longer than the model takes."""

    default_message = "The question is too long for the language model."


class PolicyRefused(ModelRefused):
    """The provider's content policy forbids the question, or the answer."""

    default_message = "The language model's provider refuses this under its content policy."


class ParameterRefused(ModelRefused):
    """The model does not take a parameter that the server's settings send."""

    default_message = "The language model does not take a parameter that this server sends."


def codes(base: type[AppError]) -> set[str]:
    """Every code that an error of this class can have, those of its subclasses included."""
    return {base.code}.union(*map(codes, base.__subclasses__()))


def origin(exc: BaseException) -> str:
    """Say where an error arose, without its message, which may hold a secret or a question."""
    *_, (frame, line) = traceback.walk_tb(exc.__traceback__)
    return f"{type(exc).__name__} at {frame.f_code.co_filename}:{line}"
