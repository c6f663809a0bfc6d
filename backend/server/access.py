"""Access control: who may connect, who may ask, and whose questions are whose."""

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
from .question_service import QuestionService


class Access:
    """Authenticates visitors and applies limits, before the question service does its work."""

    def __init__(
        self, service: QuestionService, identity: Identity, limits: AskLimits, settings: Settings
    ) -> None:
        self._service = service
        self._identity = identity
        self._limits = limits
        self._sockets = SocketLimits(settings)
        self._trusted = parse_networks(settings.trusted_proxies)

    async def connect(self, request: web.Request, auth: Any) -> Visitor:
        """Authenticate the handshake of a socket, and count it; raises Unauthorized or Busy.

        Whoever is returned has to `disconnect`.
        """
        address = self._address(request)
        self._sockets.add(address)
        try:
            return await self._identity.identify(address, auth)
        except BaseException:
            self._sockets.remove(address)
            raise

    def disconnect(self, visitor: Visitor) -> None:
        """Count a socket no longer."""
        self._sockets.remove(visitor.address)

    async def authenticate(self, request: web.Request) -> Visitor:
        """Who sends a request, by its bearer token, RFC 6750; raises Unauthorized."""
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        auth = {"token": token.strip()} if scheme.lower() == "bearer" else {}
        return await self._identity.identify(self._address(request), auth)

    async def ask(self, visitor: Visitor, ask: Ask) -> Record:
        """Queue a question, as QuestionService.ask does, within the limits of its visitor."""
        visitor.require_current()
        await self._limits.admit(visitor, ask.question_id)
        return self._own(visitor, await self._service.ask(ask, visitor.user_id))

    async def find(self, visitor: Visitor, question_id: str) -> Record:
        """The record of a question that this visitor may read."""
        visitor.require_current()
        return self._own(visitor, await self._service.find(question_id))

    async def stop(self, visitor: Visitor, question_id: str) -> Record:
        """End a question of this visitor, as QuestionService.stop does."""
        await self.find(visitor, question_id)
        return await self._service.stop(question_id)

    def _own(self, visitor: Visitor, record: Record) -> Record:
        if not self._identity.may_read(visitor, record.user_id):
            raise Unauthorized("This question is somebody else's.")
        return record

    def _address(self, request: web.Request) -> str:
        forwarded_for = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, []))
        return client_address(request.remote or UNKNOWN, forwarded_for, self._trusted)
