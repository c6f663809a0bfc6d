"""What a failure of a model's library means for the person who asked, and for the log.

The failures of model libraries are not one family, and their words may quote keys or
questions. So only statuses and identifiers are read: the HTTP status, the provider's own
`code`, `type` and `param`, and Retry-After.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai
from aiohttp.http_exceptions import HttpProcessingError

from ..protocol.errors import (
    ContextTooLong,
    CreditExhausted,
    KeyRefused,
    ModelError,
    ModelFailure,
    ModelOverloaded,
    ModelRateLimited,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
    ModelUnknown,
    ParameterRefused,
    PolicyRefused,
)

MAX_RETRY_AFTER_S = 3600  # a provider that wants to be left alone for longer is asked again then
MAX_NAME_CHARS = 64  # of a parameter: what is longer is prose
MAX_CAUSES = 8  # of an exception that are looked at

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")
_PARAMETER = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_OF_PEOPLE = ("messages", "input", "contents", "prompt")  # parameters that hold people's text

# Some providers tell these in words alone.
_TOO_LONG = re.compile(
    r"context (length|window|size)|prompt is too long|too many (input )?tokens|input is too long",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(r"credit balance is too low|insufficient (credits|balance)", re.IGNORECASE)

# By identifier: the first that matches decides, so that what is more exact stands first.
_BY_WORD: tuple[tuple[type[ModelFailure], frozenset[str]], ...] = (
    (ModelUnknown, frozenset({
        "model_not_found", "model_not_available", "model_deprecated", "model_not_supported",
        "deploymentnotfound", "model_decommissioned", "unknown_model", "not_found_error",
        "not_found", "resourcenotfoundexception",
    })),
    (CreditExhausted, frozenset({
        "insufficient_quota", "billing_hard_limit_reached", "billing_not_active",
        "insufficient_balance", "insufficient_credits", "billing_error", "payment_required",
        "credits_exhausted",
    })),
    (ContextTooLong, frozenset({
        "context_length_exceeded", "string_above_max_length", "exceed_context_size_error",
        "context_window_exceeded", "contextwindowexceedederror", "request_too_large",
    })),
    (PolicyRefused, frozenset({
        "content_policy_violation", "content_filter", "content_filtered", "invalid_prompt",
        "moderation_blocked", "responsibleaipolicyviolation", "prohibited_content", "safety",
        "contentpolicyviolationerror", "cyber_policy_violation",
    })),
    (KeyRefused, frozenset({
        "invalid_api_key", "authentication_error", "permission_error", "unauthenticated",
        "permission_denied", "accessdeniedexception", "unrecognizedclientexception",
        "invalid_authentication", "expiredtokenexception",
    })),
    (ModelOverloaded, frozenset({
        "overloaded_error", "overloaded", "engine_overloaded", "server_overloaded",
        "service_unavailable", "unavailable", "serviceunavailableexception", "capacity_exceeded",
        "modelnotreadyexception",
    })),
    (ModelRateLimited, frozenset({
        "rate_limit_exceeded", "rate_limit_error", "rate_limited", "too_many_requests",
        "resource_exhausted", "throttlingexception", "requests", "tokens", "slow_down",
    })),
    (ModelTimeout, frozenset({"timeout", "timeout_error", "deadline_exceeded"})),
    (ModelUnavailable, frozenset({
        "server_error", "internal_server_error", "internal_error", "internal", "api_error",
        "bad_gateway", "internalserverexception",
    })),
    (ParameterRefused, frozenset({
        "unsupported_parameter", "unsupported_value", "unknown_parameter", "invalid_value",
        "invalid_type", "integer_below_min_value", "integer_above_max_value",
        "decimal_below_min_value", "decimal_above_max_value", "missing_required_parameter",
    })),
)  # fmt: skip

_BY_STATUS: Mapping[int, type[ModelFailure]] = {
    401: KeyRefused,
    402: CreditExhausted,
    403: KeyRefused,
    404: ModelUnknown,
    408: ModelTimeout,
    410: ModelUnknown,
    413: ContextTooLong,
    429: ModelRateLimited,
    503: ModelOverloaded,
    504: ModelTimeout,
    529: ModelOverloaded,
}


@dataclass(frozen=True, slots=True)
class ProviderError:
    """What a provider told of a failure, as far as it is no prose."""

    status: int | None = None
    words: tuple[str, ...] = ()  # its code and its types, as identifiers
    parameter: str = ""
    retry_after_s: int | None = None
    is_too_long: bool = False
    is_out_of_credit: bool = False

    @property
    def kind(self) -> type[ModelFailure] | None:
        """The failure it stands for; None where it says nothing."""
        if by_word := self._by_word():
            return by_word
        if self.is_out_of_credit:
            return CreditExhausted
        if self.is_too_long:
            return ContextTooLong
        if self.status is None or self.status < 400:
            return ParameterRefused if self.parameter else None
        if self.status in (400, 422) and self.parameter:
            return ParameterRefused
        return _BY_STATUS.get(self.status, ModelUnavailable if self.status >= 500 else ModelRefused)

    def _by_word(self) -> type[ModelFailure] | None:
        words = {word.lower() for word in self.words}
        return next((kind for kind, known in _BY_WORD if words & known), None)

    def __str__(self) -> str:
        """Only what may stand in a log."""
        told = [str(self.status)] if self.status else []
        told += [*dict.fromkeys(self.words)]
        return " ".join([*told, *([f"param {self.parameter}"] if self.parameter else [])])


def failure_of(exc: Exception, model: str = "", setting: str = "") -> ModelFailure:
    """What a failure means; `model` is the model's name, `setting` the variable that names it."""
    if isinstance(exc, ModelFailure):
        return exc
    told = provider_error(exc)
    kind = told.kind or _kind_of_library(exc)
    detail = " ".join(filter(None, (type(exc).__name__, str(told))))
    if issubclass(kind, ModelRefused):
        detail += f", model {model or 'unknown'}" + (f" of {setting}" if setting else "")
    message = None
    if kind is ModelUnknown and model:
        message = f"The model {model} is not available at this provider."
    if kind is ParameterRefused and told.parameter:
        message = f"The language model does not take the parameter {told.parameter} as it is set."
    return kind(message, retry_after_s=told.retry_after_s, detail=detail)


def provider_error(exc: BaseException) -> ProviderError:
    """Collect what an exception, and those it was raised from, tell of a provider's error."""
    errors = [error for cause in _causes(exc) for error in _bodies(cause)]
    words = [str(error.get(name)) for error in errors for name in ("code", "type", "status")]
    text = " ".join(str(cause) for cause in _causes(exc))
    statuses = [status for cause in _causes(exc) if (status := _status(cause))]
    statuses += [status for error in errors if (status := _number(error.get("code")))]
    parameters = [str(error.get("param") or "") for error in errors]
    return ProviderError(
        status=next(iter(statuses), None),
        words=tuple(word for word in words if _IDENTIFIER.fullmatch(word) and word != "None"),
        parameter=next(filter(_is_parameter, parameters), ""),
        retry_after_s=next(filter(None, map(_retry_after_s, _causes(exc))), None),
        is_too_long=bool(_TOO_LONG.search(text)),
        is_out_of_credit=bool(_NO_CREDIT.search(text)),
    )


def _kind_of_library(exc: Exception) -> type[ModelFailure]:
    """What a failure means of which no provider has told anything."""
    match exc:
        case openai.APITimeoutError() if any(
            isinstance(cause, aiohttp.ClientConnectorError) for cause in _causes(exc)
        ):  # the client's aiohttp transport calls every failed connection a timeout
            return ModelUnavailable
        case openai.APITimeoutError() | TimeoutError():
            return ModelTimeout
        case openai.APIConnectionError() | ConnectionError() | aiohttp.ClientConnectionError():
            return ModelUnavailable
    names = {name for cause in _causes(exc) for name in _class_names(cause)}
    if any("Timeout" in name for name in names):
        return ModelTimeout
    if any("Connect" in name or "Protocol" in name for name in names):
        return ModelUnavailable
    return ModelError


def _class_names(exc: BaseException) -> Iterator[str]:
    """Of the exceptions of HTTP libraries that integrations use: httpx, requests, botocore."""
    return (kind.__name__ for kind in type(exc).__mro__ if kind.__module__ != "builtins")


def _causes(exc: BaseException | None) -> list[BaseException]:
    """An exception, and what it was raised from."""
    causes: list[BaseException] = []
    while exc and len(causes) < MAX_CAUSES and exc not in causes:
        causes.append(exc)
        exc = exc.__cause__ or exc.__context__
    # A connection that broke: aiohttp gives it the status that a server of its own would answer.
    return [cause for cause in causes if not isinstance(cause, HttpProcessingError)]


def _bodies(exc: BaseException) -> Iterator[Mapping[str, Any]]:
    """The error objects in an exception: of the SDKs, and of botocore."""
    response = getattr(exc, "response", None)
    for body in (getattr(exc, "body", None), getattr(exc, "details", None), response):
        if not isinstance(body, Mapping):
            continue
        yield body
        for name in ("error", "Error", "innererror"):
            if isinstance(inner := body.get(name), Mapping):
                yield {key.lower(): value for key, value in inner.items() if isinstance(key, str)}
    yield {"code": getattr(exc, "code", None), "status": getattr(exc, "status", None)}


def _status(exc: BaseException) -> int | None:
    response = getattr(exc, "response", None)
    metadata = response.get("ResponseMetadata") if isinstance(response, Mapping) else None
    told = (
        getattr(exc, "status_code", None),
        getattr(exc, "status", None),
        getattr(response, "status_code", None),
        metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None,
    )
    return next(filter(None, map(_number, told)), None)


def _number(value: Any) -> int | None:
    """An HTTP status of an error, whether as a number or as text."""
    with suppress(TypeError, ValueError):
        if not isinstance(value, bool | float) and 400 <= (number := int(value)) <= 599:
            return number
    return None


def _is_parameter(name: str) -> bool:
    return bool(
        len(name) <= MAX_NAME_CHARS
        and _PARAMETER.fullmatch(name)
        and not name.startswith(_OF_PEOPLE)
    )


def _retry_after_s(exc: BaseException) -> int | None:
    headers = getattr(getattr(exc, "response", None), "headers", None)
    with suppress(AttributeError, OverflowError, TypeError, ValueError):
        seconds = float(headers.get("retry-after"))  # type: ignore[union-attr]  # caught
        if 0 < seconds:
            return min(round(seconds) or 1, MAX_RETRY_AFTER_S)
    return None
