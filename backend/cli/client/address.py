"""The address of a backend."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_TOKEN = re.compile(r"[\x21-\x7e]+")  # what a header may carry, without blanks


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """The address of a backend, without a slash at its end, and the token that it may want."""

    url: str
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError, which does not repeat the token, where either cannot be right."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ValueError("the address has to be like http://127.0.0.1:3000")
        if self.token and not _TOKEN.fullmatch(self.token):
            raise ValueError("the token must have no blanks and no other than ASCII characters")

    @property
    def headers(self) -> dict[str, str]:
        """What every HTTP request carries."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def auth(self) -> dict[str, str] | None:
        """What the Socket.IO handshake carries."""
        return {"token": self.token} if self.token else None

    @property
    def origin(self) -> str:
        """The address without its path."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def socket_path(self) -> str:
        """Where Socket.IO is; a proxy may have put the backend below a path."""
        return f"{urlsplit(self.url).path}/socket.io"
