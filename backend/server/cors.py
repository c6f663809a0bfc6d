"""CORS: which origins may use the server; answered as Express does, or narrower."""

from collections.abc import Awaitable, Callable, Collection

from aiohttp import hdrs, web

SOCKET_PATH = "/socket.io/"
METHODS = "GET,HEAD,PUT,PATCH,POST,DELETE"

RouteHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def allow_origins(app: web.Application, origins: Collection[str] | None) -> None:
    """Let pages of these origins use an application, None: of every origin.

    A page of another one is refused on every path, whatever it wants. The endpoint of
    Socket.IO sets its own headers, and checks origins by the same list.
    """

    @web.middleware
    async def refuse_others(request: web.Request, handler: RouteHandler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin and origins is not None and origin not in origins:
            raise web.HTTPForbidden(reason="This origin is not allowed.")
        if request.method == hdrs.METH_OPTIONS and request.path != SOCKET_PATH:
            return _preflight(request)
        return await handler(request)

    async def allow(request: web.Request, response: web.StreamResponse) -> None:
        if request.path == SOCKET_PATH:
            return
        if origins is None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
            return
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin in origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = str(origin)

    app.middlewares.append(refuse_others)
    app.on_response_prepare.append(allow)


def _preflight(request: web.Request) -> web.Response:
    headers = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS,
        hdrs.VARY: "Access-Control-Request-Headers",
    }
    if wanted := request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS):
        headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = wanted
    return web.Response(status=204, headers=headers)
