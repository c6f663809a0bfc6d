"""Tokens: whose they are, and all the ways in which they are none."""

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backend.protocol.errors import IdentityUnavailable, Unauthorized
from backend.protocol.requests import EVERYBODY
from backend.server.auth import (
    LEEWAY_S,
    MAX_SUBJECT_CHARS,
    MAX_TOKEN_CHARS,
    Identity,
    KeySet,
    TokenIdentity,
    UnverifiedIdentity,
    Visitor,
    identity_of,
)
from backend.settings import Settings

SECRET = "a secret of the tests, long enough for HS256"  # noqa: S105
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ADDRESS = "1.2.3.4"


def claims(**changes: Any) -> dict[str, Any]:
    """What a valid token says, but for the changes; None leaves a claim out."""
    said = {"sub": "ann", "exp": time.time() + 60} | changes
    return {name: value for name, value in said.items() if value is not None}


def signed(key: Any = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    """A token."""
    return jwt.encode(claims(**changes), key, algorithm)


def pem(key: Any) -> str:
    """The public half of a key, as a setting holds it: on one line."""
    text = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return str(text).replace("\n", "\\n")


async def identify(identity: Identity, token: object) -> Visitor:
    """Come with this token."""
    return await identity.identify(ADDRESS, {"token": token})


@pytest.fixture
def tokens() -> Identity:
    """What AUTH_SECRET asks for."""
    return identity_of(Settings(auth_secret=SECRET))


async def test_without_settings_everybody_is_taken_at_their_word() -> None:
    """Nobody needs a token, a name is not verified, and an id is the right to read."""
    identity = identity_of(Settings())
    assert isinstance(identity, UnverifiedIdentity)
    assert await identity.identify(ADDRESS, {"userId": "ann"}) == Visitor("ann", ADDRESS)
    somebody = await identity.identify(ADDRESS, None)
    assert (somebody.user_id, somebody.verified) == (EVERYBODY, False)
    assert identity.may_read(somebody, "ann")


async def test_the_subject_is_the_user(tokens: Identity) -> None:
    """A valid token says who somebody is, until it expires."""
    expires_at = time.time() + 60
    ann = await identify(tokens, signed(exp=expires_at))
    assert (ann.user_id, ann.address, ann.verified) == ("ann", ADDRESS, True)
    assert ann.expires_at == pytest.approx(expires_at + LEEWAY_S, abs=1)
    assert tokens.may_read(ann, "ann")
    assert not tokens.may_read(ann, "ben")
    assert not tokens.may_read(ann, EVERYBODY)


@pytest.mark.parametrize("auth", [None, {}, "token", [], {"token": None}, {"token": ""}, {"t": 1}])
async def test_no_token(tokens: Identity, auth: object) -> None:
    """Without a token nobody is let in, whoever they say they are."""
    with pytest.raises(Unauthorized, match="needed"):
        await tokens.identify(ADDRESS, auth)


def forged(header: dict[str, Any]) -> str:
    """A token with another header, and no signature that fits it."""
    _, body, signature = signed().split(".")
    encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return f"{encoded}.{body}.{signature}"


NO_TOKENS = [
    "nonsense",
    "a.b.c",
    "..",
    "\ud800.\ud800.\ud800",
    signed("another secret that is long enough for HS256"),
    signed()[:-4] + "AAAA",
    signed(exp=None),
    signed(sub=None),
    signed(sub=""),
    signed(sub="x" * (MAX_SUBJECT_CHARS + 1)),
    signed(nbf=time.time() + 3600),
    signed(exp="tomorrow"),
    jwt.encode(claims(), "", "none"),
    forged({"alg": "none"}),
    forged({"alg": "HS512"}),
    forged({"alg": "RS256"}),
    forged({}),
    "x" * (MAX_TOKEN_CHARS + 1),
    "[" * 5000 + "." + "[" * 1000,
]


@pytest.mark.parametrize("which", range(len(NO_TOKENS)))
async def test_a_token_that_is_none(tokens: Identity, which: int) -> None:
    """Whatever is not signed by us, or does not say who and until when, is refused for good."""
    token = NO_TOKENS[which]
    with pytest.raises(Unauthorized) as refused:
        await identify(tokens, token)
    assert refused.value.payload["code"] == "unauthorized"
    assert not refused.value.retryable
    assert token not in str(refused.value)


async def test_an_expired_token_says_so(tokens: Identity) -> None:
    """The reason that a page can do something about is told apart."""
    with pytest.raises(Unauthorized, match="expired"):
        await identify(tokens, signed(exp=time.time() - 60))


async def test_a_token_expires_while_somebody_is_connected(tokens: Identity) -> None:
    """What a token said holds until its end, not for as long as a socket lives."""
    ann = await identify(tokens, signed(exp=time.time() + 60))
    ann.require_current()
    with pytest.raises(Unauthorized, match="expired"):
        Visitor("ann", ADDRESS, True, time.time() - 1).require_current()


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256")])
async def test_a_public_key(key: Any, algorithm: str) -> None:
    """Tokens of somebody else's server are checked with its public key."""
    identity = identity_of(Settings(auth_public_key=pem(key)))
    assert (await identify(identity, signed(key, algorithm))).user_id == "ann"
    other = RSA if key is EC else EC
    with pytest.raises(Unauthorized):
        await identify(identity, signed(other, "RS256" if other is RSA else "ES256"))


async def test_a_public_key_is_no_secret() -> None:
    """A token that was signed with the public key as a secret is not valid: the old confusion."""
    identity = identity_of(Settings(auth_public_key=pem(RSA)))
    header, body, _ = signed(RSA, "RS256").split(".")
    confused = forged({"alg": "HS256", "typ": "JWT"}).split(".")[0]
    with pytest.raises(Unauthorized):
        await identify(identity, f"{confused}.{body}.{header}")


async def test_audience_and_issuer() -> None:
    """Where the settings name them, tokens for others, or from others, are refused."""
    settings = Settings(auth_secret=SECRET, auth_audience="us", auth_issuer="them")
    identity = identity_of(settings)
    assert (await identify(identity, signed(aud="us", iss="them"))).user_id == "ann"
    for changes in ({"aud": "us"}, {"iss": "them"}, {"aud": "you", "iss": "them"}):
        with pytest.raises(Unauthorized):
            await identify(identity, signed(**changes))


@pytest.mark.parametrize(
    ("subject", "user_id"),
    [("auth0|7", "auth0%7C7"), ("a:b", "a%3Ab"), ("{x}", "%7Bx%7D"), ("é", "%C3%A9")],
)
async def test_a_subject_becomes_a_part_of_names(
    tokens: Identity, subject: str, user_id: str
) -> None:
    """What has a meaning in a name in Redis is escaped, so that no two subjects share one."""
    assert (await identify(tokens, signed(sub=subject))).user_id == user_id


class Issuer:
    """Publishes keys, and counts how often they are fetched."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.fetches = 0
        self.broken = False

    def token(self, key_id: str, key: Any) -> str:
        """A token that names its key."""
        return jwt.encode(claims(), key, "ES256", headers={"kid": key_id})

    async def serve(self, request: web.Request) -> web.Response:
        """Answer with the key set."""
        self.fetches += 1
        if self.broken:
            return web.Response(text="<html>down</html>")
        keys = [
            {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": key_id}
            for key_id, key in self.keys.items()
        ]
        return web.json_response({"keys": keys})


@pytest.fixture
async def issuer() -> AsyncIterator[tuple[Issuer, TokenIdentity, KeySet]]:
    """An issuer, and the tokens that it is trusted with."""
    issuer = Issuer()
    app = web.Application()
    app.router.add_get("/jwks", issuer.serve)
    async with TestServer(app) as server:
        keys = KeySet(str(server.make_url("/jwks")))
        yield issuer, TokenIdentity(keys), keys


async def test_published_keys(issuer: tuple[Issuer, TokenIdentity, KeySet]) -> None:
    """The key that a token names is fetched once, and kept."""
    publisher, tokens, _ = issuer
    publisher.keys["one"] = EC
    for _ in range(3):
        assert (await identify(tokens, publisher.token("one", EC))).user_id == "ann"
    assert publisher.fetches == 1


async def test_unknown_keys_cost_one_fetch(issuer: tuple[Issuer, TokenIdentity, KeySet]) -> None:
    """However many key ids somebody makes up, the issuer is not asked for each of them."""
    publisher, tokens, _ = issuer
    publisher.keys["one"] = EC
    for number in range(20):
        with pytest.raises(Unauthorized):
            await identify(tokens, publisher.token(f"made up {number}", EC))
    assert publisher.fetches == 1
    assert await identify(tokens, publisher.token("one", EC))


async def test_a_new_key_is_found(
    issuer: tuple[Issuer, TokenIdentity, KeySet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause a key that was added is fetched, and the old ones are known as long."""
    publisher, tokens, _ = issuer
    publisher.keys["one"] = EC
    await identify(tokens, publisher.token("one", EC))
    monkeypatch.setattr("backend.server.auth.JWKS_PAUSE_S", 0.0)
    issuer[2]._next_fetch = 0.0
    new = ec.generate_private_key(ec.SECP256R1())
    publisher.keys["two"] = new
    assert await identify(tokens, publisher.token("two", new))
    publisher.broken = True
    with pytest.raises(IdentityUnavailable):
        await identify(tokens, publisher.token("three", new))
    assert await identify(tokens, publisher.token("one", EC))


async def test_an_issuer_that_is_down(issuer: tuple[Issuer, TokenIdentity, KeySet]) -> None:
    """Where the keys cannot be had, a client is told that it may try again."""
    publisher, tokens, _ = issuer
    publisher.broken = True
    with pytest.raises(IdentityUnavailable) as refused:
        await identify(tokens, publisher.token("one", EC))
    assert refused.value.payload["retryable"]
