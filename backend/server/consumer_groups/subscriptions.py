"""Subscriptions whose entries are pending until the socket's client acknowledges them."""

from functools import partial

from ...protocol.entries import Entry
from ...protocol.record import Record
from ..question_service import QuestionService
from ..socket_outbox import SocketOutbox
from ..subscriptions import Subscription, Subscriptions
from .socket_acks import SocketAcks
from .user_groups import GroupReader, UserGroups


class GroupSubscription(Subscription):
    """One socket that follows one answer, in its user's group."""

    _reader: GroupReader  # while entries are sent

    def __init__(
        self,
        service: QuestionService,
        outbox: SocketOutbox,
        sid: str,
        record: Record,
        after: str | None,
        *,
        user_id: str,
        groups: UserGroups,
        acks: SocketAcks,
    ) -> None:
        super().__init__(service, outbox, sid, record, after)
        self._user_id = user_id
        self._groups = groups
        self._acks = acks

    async def _send_entries(self) -> None:
        async with self._groups.reader(self._record, self._user_id, self._after) as self._reader:
            await super()._send_entries()

    async def _send(self, entry: Entry) -> None:
        redelivered = await self._reader.deliver(entry.id)
        is_last = entry.ending is not None
        acknowledged = self._acks.add(partial(self._reader.received, entry.id), is_last=is_last)
        await self._outbox.send(self._sid, entry.chunk(redelivered=redelivered), acknowledged)
        if is_last and not self._outbox.is_written(self._sid):
            await self._outbox.drained(self._sid)
        self._acks.check_written()


class GroupSubscriptions(Subscriptions):
    """The subscriptions of a server whose users have consumer groups."""

    def __init__(
        self,
        service: QuestionService,
        outbox: SocketOutbox,
        *,
        max_per_socket: int,
        groups: UserGroups,
    ) -> None:
        super().__init__(service, outbox, max_per_socket=max_per_socket)
        self._groups = groups
        self._acks: dict[str, SocketAcks] = {}  # by socket

    def open(self, sid: str) -> None:
        """Let a socket have subscriptions."""
        super().open(sid)
        self._acks[sid] = SocketAcks(partial(self._outbox.is_written, sid))

    async def drop(self, sid: str) -> None:
        """End the subscriptions of a socket that has gone; its unread entries stay pending."""
        if acks := self._acks.pop(sid, None):
            acks.close()
        await super().drop(sid)

    def _subscription(
        self, sid: str, user_id: str, record: Record, after: str | None
    ) -> Subscription:
        if not self._groups.has(record, user_id):
            return super()._subscription(sid, user_id, record, after)
        return GroupSubscription(
            self._service,
            self._outbox,
            sid,
            record,
            after,
            user_id=user_id,
            groups=self._groups,
            acks=self._acks[sid],
        )
