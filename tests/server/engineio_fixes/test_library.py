"""What the transport replaces and reads in the libraries is still there, in its known shape."""

import asyncio
import inspect

import engineio
import pytest
import socketio
from engineio.async_drivers import aiohttp as driver
from engineio.async_socket import AsyncSocket
from engineio.packet import Packet as EnginePacket
from engineio.payload import Payload
from socketio.packet import Packet as SocketPacket

from backend.server import engineio_fixes


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (AsyncSocket, "close", "wait abort reason"),
        (AsyncSocket, "handle_get_request", "environ"),
        (AsyncSocket, "handle_post_request", "environ"),
        (AsyncSocket, "poll", ""),
        (AsyncSocket, "receive", "pkt"),
        (AsyncSocket, "schedule_ping", ""),
        (AsyncSocket, "send", "pkt"),
        (AsyncSocket, "_upgrade_websocket", "environ"),
        (engineio.AsyncServer, "start_background_task", "target args kwargs"),
        (engineio.AsyncServer, "_bad_request", "message"),
        (engineio.AsyncServer, "_log_error_once", "message message_key"),
        (socketio.AsyncServer, "_engineio_server_class", ""),
        (socketio.AsyncServer, "_handle_connect", "eio_sid namespace data"),
        (socketio.AsyncServer, "_handle_disconnect", "eio_sid namespace reason"),
        (socketio.AsyncServer, "_handle_eio_connect", "eio_sid environ"),
        (socketio.AsyncServer, "_handle_eio_disconnect", "eio_sid reason"),
        (socketio.AsyncServer, "_handle_eio_message", "eio_sid data"),
        (socketio.AsyncServer, "_send_packet", "eio_sid pkt"),
        (socketio.AsyncServer, "_trigger_event", "event namespace args"),
        (
            socketio.AsyncManager,
            "emit",
            "event data namespace room skip_sid callback to kwargs",
        ),
        (socketio.AsyncManager, "eio_sid_from_sid", "sid namespace"),
        (socketio.AsyncManager, "sid_from_eio_sid", "eio_sid namespace"),
        (SocketPacket, "decode", "encoded_packet"),
        (EnginePacket, "encode", "b64"),
    ],
)
def test_the_methods_we_replace_are_still_there(owner: type, name: str, parameters: str) -> None:
    """Every method of the library that the transport replaces or calls has its known shape."""
    method = getattr(owner, name)
    assert list(inspect.signature(method).parameters) == ["self", *parameters.split()]


async def test_the_attributes_we_use_are_still_there() -> None:
    """Every attribute of the library that the transport reads or sets exists."""
    sio = socketio.AsyncServer(async_mode="aiohttp")
    session = AsyncSocket(sio.eio, "sid")
    assert vars(sio).keys() >= {"eio", "environ", "handlers", "manager", "_binary_packet"}
    assert vars(sio.eio).keys() >= {
        "_async", "handlers", "max_http_buffer_size", "ping_interval", "ping_timeout", "sockets",
    }  # fmt: skip
    assert vars(session).keys() >= {
        "closed", "closing", "connected", "last_ping", "queue", "server", "sid", "upgraded",
        "upgrading",
    }  # fmt: skip
    assert vars(sio.eio)["_async"]["translate_request"] is driver.translate_request
    assert isinstance(session.queue, asyncio.Queue)
    assert Payload.max_decode_packets < engineio_fixes.PACKETS_PER_POST
