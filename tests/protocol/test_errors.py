"""Error codes: few, documented, and with everything a transport needs."""

import re
from pathlib import Path

from backend.protocol.errors import (
    AnswerError,
    AppError,
    IdentityUnavailable,
    RequestError,
    Unauthorized,
    codes,
)

README = Path(__file__).parents[2] / "README.md"


def kinds(base: type[AppError] = AppError) -> list[type[AppError]]:
    """The classes of errors, from this one down."""
    return [base, *(kind for each in base.__subclasses__() for kind in kinds(each))]


def documented() -> list[str]:
    """The codes in the table of README.md whose columns are `code` and `meaning`."""
    _, _, table = README.read_text("utf-8").partition("| code | meaning |\n|---|---|\n")
    rows = table.partition("\n\n")[0].splitlines()
    return [code for row in rows for code in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_every_code_is_documented() -> None:
    """README.md has a row for every code that clients can see, and for no other."""
    assert sorted(documented()) == sorted(codes(AppError))


def test_a_code_is_found_by_its_phase() -> None:
    """What refuses a request is told from what an accepted question can fail with."""
    assert {"invalid_request", "busy", "internal_error"} <= codes(RequestError)
    assert {"model_error", "interrupted", "internal_error"} <= codes(AnswerError)
    assert codes(RequestError) & codes(AnswerError) == {"internal_error", "rate_limited"}
    assert codes(RequestError) | codes(AnswerError) == codes(AppError)


def test_an_error_has_what_a_client_needs() -> None:
    """Each one has a sentence for people, and a status that the contract knows."""
    for kind in kinds():
        error = {"code": kind.code, "message": kind.default_message, "retryable": kind.retryable}
        assert kind().payload == error
        assert kind.default_message.endswith("."), kind
        assert kind.http_status in (400, 401, 429, 500), kind


def test_a_failed_answer_is_500() -> None:
    """502, 503 and 504 are not used, whatever the provider did: the original says 500."""
    assert {kind.http_status for kind in kinds(AnswerError)} == {500}


def test_a_token_that_cannot_be_checked_is_no_401() -> None:
    """While the issuer's keys cannot be fetched nobody is told that the token is wrong."""
    assert (Unauthorized.http_status, IdentityUnavailable.http_status) == (401, 500)
