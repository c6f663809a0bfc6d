"""The HTTP routes, where an answer is pending until the response with it is written."""

from contextlib import aclosing

from aiohttp import web

from ...protocol.record import Record
from ...protocol.transcript import Transcript
from ...runtime.metrics import Metrics
from ...settings import Settings
from ..access import Access
from ..auth import Visitor
from ..http_routes import HttpRoutes, answer_response
from ..question_service import QuestionService
from .user_groups import UserGroups


class GroupHttpRoutes(HttpRoutes):
    """The routes of a server whose users have consumer groups."""

    def __init__(
        self,
        service: QuestionService,
        access: Access,
        settings: Settings,
        *,
        metrics: Metrics,
        groups: UserGroups,
    ) -> None:
        super().__init__(service, access, settings, metrics=metrics)
        self._groups = groups

    async def _answer(
        self, request: web.Request, visitor: Visitor, record: Record
    ) -> web.StreamResponse:
        if not self._groups.has(record, visitor.user_id):
            return await super()._answer(request, visitor, record)
        transcript, entry_ids = Transcript(), list[str]()
        async with (
            self._answer_timeout(),
            self._groups.reader(record, visitor.user_id) as reader,
            aclosing(self._service.follow(record)) as entries,
        ):
            async for entry in entries:
                await reader.deliver(entry.id)
                entry_ids.append(entry.id)
                transcript.add(entry)
        response = answer_response(transcript)
        await response.prepare(request)
        await response.write_eof()
        reader.received(*entry_ids)
        return response
