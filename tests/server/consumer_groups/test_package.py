"""Consumer-group mode is one place: what serves without groups knows nothing of it."""

from pathlib import Path

from backend import server

PACKAGE = Path(server.__file__).parent


def test_plain_mode_does_not_know_of_groups() -> None:
    """No other module of the server names this package, or what is in it."""
    names = ("consumer_group", "UserGroups", "GroupReader", "SocketAcks")
    others = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "consumer_groups"]
    assert others
    for path in others:
        text = path.read_text("utf-8")
        assert not [name for name in names if name in text], path.name
