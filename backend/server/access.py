"""What visitors may do: who is let in, who may ask, and whose questions are whose."""

from typing import Any

from aiohttp import hdrs, web

from ..protocol.errors import Unauthorized
from ..protocol.networks import parse_networks
from ..protocol.record import Record
from ..protocol.requests import Ask
from ..settings import Settings
from .ask_limits import AskLimits, SocketLimits
from .auth import Identity, Visitor
from .client_address import UNKNOWN, client_address
from .question_service import Answers


class Reception:
    """The way from a visitor to the questions: identity and limits, then the answers."""

    def __init__(
        self, answers: Answers, identity: Identity, limits: AskLimits, settings: Settings
    ) -> None:
        self._answers = answers
        self._identity = identity
        self._limits = limits
        self._sockets = SocketLimits(settings)
        self._trusted = parse_networks(settings.trusted_proxies)

    async def welcome(self, request: web.Request, auth: Any) -> Visitor:
        """Let a socket in, by its handshake; raises Unauthorized or Busy.

        Whoever was let in has to `leave`.
        """
        address = self._address(request)
        self._sockets.add(address)
        try:
            return await self._identity.identify(address, auth)
        except BaseException:
            self._sockets.remove(address)
            raise

    def leave(self, visitor: Visitor) -> None:
        """Count a socket no longer."""
        self._sockets.remove(visitor.address)

    async def identify(self, request: web.Request) -> Visitor:
        """Who sends a request: a bearer of a token, RFC 6750; raises Unauthorized."""
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        auth = {"token": token.strip()} if scheme.lower() == "bearer" else {}
        return await self._identity.identify(self._address(request), auth)

    async def ask(self, visitor: Visitor, ask: Ask) -> Record:
        """Queue a question, as Answers.ask does, within the limits of who asks it."""
        visitor.require_current()
        await self._limits.admit(visitor, ask.question_id)
        return self._own(visitor, await self._answers.ask(ask, visitor.user_id))

    async def find(self, visitor: Visitor, question_id: str) -> Record:
        """The record of a question that this visitor may read."""
        visitor.require_current()
        return self._own(visitor, await self._answers.find(question_id))

    async def stop(self, visitor: Visitor, question_id: str) -> Record:
        """End a question of this visitor, as Answers.stop does."""
        await self.find(visitor, question_id)
        return await self._answers.stop(question_id)

    def _own(self, visitor: Visitor, record: Record) -> Record:
        if not self._identity.may_read(visitor, record.user_id):
            raise Unauthorized("This question is somebody else's.")
        return record

    def _address(self, request: web.Request) -> str:
        forwarded_for = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, []))
        return client_address(request.remote or UNKNOWN, forwarded_for, self._trusted)
