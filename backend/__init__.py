"""Streams an LLM's answer to the browser through Redis Streams.

What other programs import comes from here. Each name is loaded when it is first used:
`import backend` loads neither aiohttp nor LangChain, which takes a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers; at run time `__getattr__` does the same
    from .app import create_app as create_app
    from .app import drain as drain
    from .llm.base import Chain as Chain
    from .llm.base import Finish as Finish
    from .llm.base import Reasoning as Reasoning
    from .llm.langchain_model import ModelChain as ModelChain
    from .protocol.entries import Usage as Usage
    from .protocol.errors import ModelFailure as ModelFailure
    from .protocol.errors import Unauthorized as Unauthorized
    from .server.auth import Identity as Identity
    from .server.auth import Visitor as Visitor
    from .settings import Settings as Settings

from .runtime.version import __version__ as __version__

_MODULES = {
    "Chain": "llm.base",
    "Finish": "llm.base",
    "Identity": "server.auth",
    "ModelChain": "llm.langchain_model",
    "ModelFailure": "protocol.errors",
    "Reasoning": "llm.base",
    "Settings": "settings",
    "Unauthorized": "protocol.errors",
    "Usage": "protocol.entries",
    "Visitor": "server.auth",
    "create_app": "app",
    "drain": "app",
}
__all__ = [*_MODULES]


if not TYPE_CHECKING:  # a type checker would take every name for one that exists

    def __getattr__(name: str) -> Any:
        """Load what is imported from here, on first use."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
