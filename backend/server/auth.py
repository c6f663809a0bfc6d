"""Authentication: who a visitor is, by their own claim or by a verified token."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp

from ..protocol.errors import IdentityUnavailable, Unauthorized
from ..protocol.requests import parse_user
from ..settings import Settings

MAX_TOKEN_CHARS = 8_192
MAX_SUBJECT_CHARS = 128
LEEWAY_S = 5  # by which the clocks of issuer and server may differ
JWKS_PAUSE_S = 30.0  # between fetches, however many unknown keys clients name
JWKS_TIMEOUT_S = 5.0
JWKS_MAX_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody at a socket, or behind a request.

    `verified`: the user is who they say. `expires_at` is the Unix time, in seconds, up
    to which that holds.
    """

    user_id: str
    address: str
    verified: bool = False
    expires_at: float = float("inf")

    def require_current(self) -> None:
        """Raise Unauthorized where the token has expired since the handshake."""
        if time.time() > self.expires_at:
            raise Unauthorized("The token has expired: connect again with a new one.")


class Identity(Protocol):
    """Tells who somebody is."""

    async def identify(self, address: str, auth: Any) -> Visitor:
        """The visitor of a handshake, by its `auth`; raises Unauthorized."""

    def may_read(self, visitor: Visitor, user_id: str, /) -> bool:
        """Whether a visitor may read, and stop, a question that this user has asked."""


class UnverifiedIdentity:
    """No authentication, as in the original: knowing a question's id is the right to it."""

    async def identify(self, address: str, auth: Any) -> Visitor:
        """The user whom `auth.userId` names, or everybody's."""
        return Visitor(parse_user(auth), address)

    def may_read(self, visitor: Visitor, user_id: str, /) -> bool:
        """Yes: ids cannot be guessed."""
        return True


class KeySource(Protocol):
    """Where the keys come from that tokens are verified with, and the algorithms they are for."""

    algorithms: tuple[str, ...]

    async def key(self, token: str) -> Any:
        """The key for this token; raises Unauthorized where there is none."""


class TokenIdentity:
    """JSON Web Tokens, RFC 7519: signed by one of `keys`, not expired, and with a subject."""

    def __init__(self, keys: KeySource, *, audience: str = "", issuer: str = "") -> None:
        self._keys = keys
        self._audience = audience or None
        self._issuer = issuer or None

    async def identify(self, address: str, auth: Any) -> Visitor:
        """The subject of `auth.token`."""
        token = auth.get("token") if isinstance(auth, Mapping) else None
        if not isinstance(token, str) or not token:
            raise Unauthorized("A token is needed.")
        claims = self._decode(token, await self._keys.key(_bounded(token)))
        return Visitor(_user_id(claims["sub"]), address, True, float(claims["exp"]) + LEEWAY_S)

    def may_read(self, visitor: Visitor, user_id: str, /) -> bool:
        """A question belongs to the user who asked it."""
        return visitor.user_id == user_id

    def _decode(self, token: str, key: Any) -> dict[str, Any]:
        import jwt  # imported when the first one comes: most servers never see a token

        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(self._keys.algorithms),
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthorized("The token has expired.") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError):
            raise Unauthorized("The token is not valid.") from None
        return claims


class StaticKey:
    """A secret, or a public key, that the settings name."""

    def __init__(self, key: str, algorithms: tuple[str, ...]) -> None:
        self._key = key
        self.algorithms = algorithms

    async def key(self, token: str) -> Any:
        """The same for every token."""
        return self._key


class KeySet:
    """The keys that an issuer publishes as a JSON Web Key Set, RFC 7517; fetched when needed."""

    algorithms: tuple[str, ...] = ("RS256", "ES256")

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str, Any] = {}  # by their ids
        self._next_fetch = 0.0  # monotonic time
        self._fetching = asyncio.Lock()

    async def key(self, token: str) -> Any:
        """The key that a token names; one that is not known yet may have been added."""
        import jwt

        try:
            key_id = str(jwt.get_unverified_header(token).get("kid", ""))
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise Unauthorized("The token is not valid.") from None
        async with self._fetching:
            if key_id not in self._keys and time.monotonic() >= self._next_fetch:
                self._next_fetch = time.monotonic() + JWKS_PAUSE_S
                await self._fetch()
        try:
            return self._keys[key_id]
        except KeyError:
            raise Unauthorized("The token is signed with an unknown key.") from None

    async def _fetch(self) -> None:
        import jwt

        timeout = aiohttp.ClientTimeout(total=JWKS_TIMEOUT_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as http, http.get(self._url) as reply:
                reply.raise_for_status()
                body = await reply.content.read(JWKS_MAX_BYTES)
            published = jwt.PyJWKSet.from_json(body.decode())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, jwt.PyJWTError):
            # Tokens with a key that is known are still accepted.
            raise IdentityUnavailable from None
        self._keys = {str(key.key_id): key for key in published.keys if key.key_id}


def identity_of(settings: Settings) -> Identity:
    """The identity that the settings configure."""
    if settings.auth_secret:
        keys: KeySource = StaticKey(settings.auth_secret, ("HS256",))
    elif settings.auth_public_key:
        keys = StaticKey(settings.auth_public_key.replace("\\n", "\n"), KeySet.algorithms)
    elif settings.auth_jwks_url:
        keys = KeySet(settings.auth_jwks_url)
    else:
        return UnverifiedIdentity()
    return TokenIdentity(keys, audience=settings.auth_audience, issuer=settings.auth_issuer)


def _bounded(token: str) -> str:
    if len(token) > MAX_TOKEN_CHARS:
        raise Unauthorized("The token is too long.")
    return token


def _user_id(subject: Any) -> str:
    """A subject as a part of names in Redis: what is no letter, digit, `-._~` is escaped."""
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARS:
        raise Unauthorized("The token's subject is not valid.")
    return quote(subject, safe="", errors="replace")
