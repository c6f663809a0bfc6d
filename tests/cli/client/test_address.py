"""Where a backend is, and what it is shown."""

import pytest

from backend.cli.client.address import BackendAddress


@pytest.mark.parametrize(
    ("url", "origin", "socket_path"),
    [
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000", "/socket.io"),
        ("https://[::1]:3000", "https://[::1]:3000", "/socket.io"),
        ("https://example.org/answers", "https://example.org", "/answers/socket.io"),
    ],
)
def test_addresses(url: str, origin: str, socket_path: str) -> None:
    """A backend is at the root of its host, or where a proxy has put it."""
    server = BackendAddress(url)
    assert (server.origin, server.socket_path) == (origin, socket_path)


@pytest.mark.parametrize("url", ["", "localhost:3000", "ftp://host", "http://", "http://host/?a=b"])
def test_what_is_no_address(url: str) -> None:
    """Anything else is refused before it is tried."""
    with pytest.raises(ValueError, match="the address has to be like"):
        BackendAddress(url)


@pytest.mark.parametrize("token", ["two words", "line\n", "tökén", "\x00"])
def test_what_is_no_token(token: str) -> None:
    """What no header can carry is refused, and not repeated."""
    with pytest.raises(ValueError, match="the token must have") as refused:
        BackendAddress("http://host", token)
    assert token not in str(refused.value)


def test_a_token_is_shown_to_the_server_alone() -> None:
    """It stands in the header and the handshake, and in no representation."""
    server = BackendAddress("http://host", "word-of-the-day")
    assert server.headers == {"Authorization": "Bearer word-of-the-day"}
    assert server.auth == {"token": "word-of-the-day"}
    assert "word-of-the-day" not in repr(server)


def test_without_a_token_nothing_is_shown() -> None:
    """A server that wants none gets no empty one."""
    assert BackendAddress("http://host").headers == {}
    assert BackendAddress("http://host").auth is None
