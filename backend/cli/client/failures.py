"""How talking to a backend fails."""

from ...protocol.errors import ErrorPayload


class Unreachable(Exception):
    """There is no talking to the backend: it cannot be reached, or speaks something else."""


class Refused(Exception):
    """The backend did not take the request; `error` says why."""

    def __init__(self, error: ErrorPayload) -> None:
        super().__init__(error["code"])
        self.error = error


def own_error(code: str, message: str, *, retryable: bool = True) -> ErrorPayload:
    """An error that the client found out about itself, in the shape of the backend's."""
    return {"code": code, "message": message, "retryable": retryable}
