"""What the failures of model libraries mean: by status and identifier, never by their words."""

from typing import Any

import httpx2
import openai
import pytest

from backend.llm.failures import MAX_RETRY_AFTER_S, failure_of
from backend.protocol.errors import (
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

WORDS = "what somebody asked, and sk-a-key"
REQUEST = httpx2.Request("POST", "http://provider.example/v1")


def status_error(status: int, headers: dict[str, str] | None = None, **error: Any) -> Exception:
    """An error response as the OpenAI client raises it."""
    response = httpx2.Response(status, headers=headers, request=REQUEST)
    return openai.APIStatusError(WORDS, response=response, body={"message": WORDS, **error})


class SdkError(Exception):
    """An error of another SDK, with attributes of its own."""

    def __init__(self, words: str = WORDS, **attributes: Any) -> None:
        super().__init__(words)
        for name, value in attributes.items():
            setattr(self, name, value)


def caused(exc: Exception, cause: Exception) -> Exception:
    """An exception that was raised from another one."""
    exc.__cause__ = cause
    return exc


@pytest.mark.parametrize(
    ("exc", "kind", "retryable"),
    [
        # OpenAI, and servers that speak as it does
        (status_error(401, code="invalid_api_key"), KeyRefused, False),
        (status_error(403), KeyRefused, False),
        (status_error(404, code="model_not_found"), ModelUnknown, False),
        (status_error(400, code="model_not_found", param="model"), ModelUnknown, False),
        (status_error(404), ModelUnknown, False),
        (status_error(410), ModelUnknown, False),
        (status_error(429, code="rate_limit_exceeded"), ModelRateLimited, True),
        (status_error(429, code="insufficient_quota"), CreditExhausted, False),
        (status_error(402), CreditExhausted, False),
        (
            status_error(400, code="context_length_exceeded", param="messages"),
            ContextTooLong,
            False,
        ),
        (status_error(413), ContextTooLong, False),
        (status_error(400, code="content_policy_violation"), PolicyRefused, False),
        (status_error(400, code="content_filter", param="prompt"), PolicyRefused, False),
        (status_error(400, code="unsupported_value", param="temperature"), ParameterRefused, False),
        (status_error(422, param="reasoning.effort"), ParameterRefused, False),
        (status_error(400, param="messages.[0].content"), ModelRefused, False),
        (status_error(400), ModelRefused, False),
        (status_error(500), ModelUnavailable, True),
        (status_error(503), ModelOverloaded, True),
        (status_error(529), ModelOverloaded, True),
        (status_error(504), ModelTimeout, True),
        # inside a stream that began as a success
        (openai.APIError(WORDS, REQUEST, body={"code": 429}), ModelRateLimited, True),
        (openai.APIError(WORDS, REQUEST, body={"code": "502"}), ModelUnavailable, True),
        (openai.APIError(WORDS, REQUEST, body={"code": "server_error"}), ModelUnavailable, True),
        (openai.APIError(WORDS, REQUEST, body={"type": "overloaded_error"}), ModelOverloaded, True),
        (openai.APIError(WORDS, REQUEST, body={}), ModelError, True),
        # Anthropic
        (
            SdkError(status_code=529, body={"error": {"type": "overloaded_error"}}),
            ModelOverloaded,
            True,
        ),
        (
            SdkError(status_code=200, body={"error": {"type": "overloaded_error"}}),
            ModelOverloaded,
            True,
        ),
        (
            SdkError(
                "Your credit balance is too low",
                status_code=400,
                body={"error": {"type": "invalid_request_error"}},
            ),
            CreditExhausted,
            False,
        ),
        (SdkError("prompt is too long: 2 > 1", status_code=400), ContextTooLong, False),
        # Gemini: the facts stand in the cause
        (caused(SdkError(), SdkError(code=404, status="NOT_FOUND")), ModelUnknown, False),
        (caused(SdkError(), SdkError(code=503, status="UNAVAILABLE")), ModelOverloaded, True),
        # Ollama, Mistral, Bedrock
        (SdkError(status_code=404, error="model not found"), ModelUnknown, False),
        (SdkError(response=httpx2.Response(401, request=REQUEST)), KeyRefused, False),
        (
            SdkError(
                response={
                    "Error": {"Code": "ThrottlingException"},
                    "ResponseMetadata": {"HTTPStatusCode": 400},
                }
            ),
            ModelRateLimited,
            True,
        ),
        # no response at all
        (openai.APIConnectionError(request=REQUEST), ModelUnavailable, True),
        (openai.APITimeoutError(request=REQUEST), ModelTimeout, True),
        (TimeoutError(), ModelTimeout, True),
        (ConnectionResetError(), ModelUnavailable, True),
        (httpx2.ReadTimeout(WORDS), ModelTimeout, True),
        (httpx2.RemoteProtocolError(WORDS), ModelUnavailable, True),
        (ValueError(WORDS), ModelError, True),
        (OSError(), ModelError, True),
    ],
    ids=repr,
)
def test_a_failure_means(exc: Exception, kind: type[ModelFailure], retryable: bool) -> None:
    """Each kind has a sentence of its own, and says whether asking again may help."""
    failed = failure_of(exc, "gpt-6-luna", "OPENAI_MODEL")
    assert type(failed) is kind
    assert failed.payload["retryable"] is retryable
    assert WORDS not in str(failed.payload)
    assert WORDS not in failed.detail


def test_every_refusal_has_a_sentence_of_its_own() -> None:
    """Whoever asks learns which of them it is."""
    kinds = (
        KeyRefused, CreditExhausted, ModelUnknown, ContextTooLong, PolicyRefused, ParameterRefused,
        ModelOverloaded, ModelRateLimited, ModelUnavailable, ModelTimeout,
    )  # fmt: skip
    assert len({kind.default_message for kind in kinds}) == len(kinds)


def test_an_unknown_model_is_named() -> None:
    """The asker reads its name, the log the setting as well."""
    failed = failure_of(status_error(404, code="model_not_found"), "gpt-4", "OPENAI_MODEL")
    assert str(failed) == "The model gpt-4 is not available at this provider."
    assert failed.detail == "APIStatusError 404 model_not_found, model gpt-4 of OPENAI_MODEL"


def test_a_parameter_is_named() -> None:
    """The asker and the log read which parameter the model does not take."""
    failed = failure_of(status_error(400, code="unsupported_value", param="temperature"), "o9")
    assert "the parameter temperature" in str(failed)
    assert "param temperature" in failed.detail


@pytest.mark.parametrize("word", [WORDS, "two words", "a" * 65, "<b>", 7, None, ["x"], {"a": 1}])
def test_what_is_no_identifier_is_not_logged(word: Any) -> None:
    """A code, a type or a parameter that is prose stays out of the log."""
    failed = failure_of(status_error(400, code=word, type=word, param=word), "m")
    assert type(failed) is ModelRefused
    assert failed.detail == "APIStatusError 400, model m"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("20", 20), ("0.2", 1), ("1e9", MAX_RETRY_AFTER_S), ("0", None), ("-5", None),
        ("nan", None), ("inf", None), ("Fri, 27 Nov 2026 10:00:00 GMT", None), ("soon", None),
    ],
)  # fmt: skip
def test_when_to_come_back_is_passed_on(header: str, seconds: int | None) -> None:
    """Retry-After reaches the asker, within bounds."""
    failed = failure_of(status_error(503, {"retry-after": header}))
    assert failed.payload.get("retryAfterS") == seconds


def test_a_failure_of_ours_stays_what_it_is() -> None:
    """A failure that has a kind already keeps it."""
    failed = ModelTimeout()
    assert failure_of(failed) is failed


def test_causes_that_go_round_in_a_circle_end() -> None:
    """An exception that is its own cause is looked at once."""
    one, other = ValueError(), SdkError(status_code=429)
    one.__cause__, other.__cause__ = other, one
    assert type(failure_of(one)) is ModelRateLimited
