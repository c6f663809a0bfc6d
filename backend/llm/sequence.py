"""A sequence of LangChain that streams without a task for each piece."""

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.runnables import RunnableConfig, RunnableSequence
from langchain_core.runnables.config import (
    ensure_config,
    get_async_callback_manager_for_config,
    patch_config,
)


class Sequence(RunnableSequence[Any, str]):
    """`first | ... | last`, where the last step gives text. Callbacks and traces are as usual.

    LangChain's own starts a task for every piece, to run it in a context of its own. Each
    step is given its configuration anyway; only code that looks for it there, in a step
    that was written without a `config` parameter, would not find it.
    """

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[str]:
        """Give the pieces of the last step as they come."""
        config = ensure_config(config)
        callbacks = get_async_callback_manager_for_config(config)
        name = config.get("run_name") or self.get_name()
        run = await callbacks.on_chain_start(
            None, input, name=name, run_id=config.pop("run_id", None)
        )
        pieces: list[str] = []
        try:
            stream: AsyncIterator[Any] = _once(input)
            for number, step in enumerate(self.steps, 1):
                child = run.get_child(f"seq:step:{number}")
                stream = step.atransform(stream, patch_config(config, callbacks=child), **kwargs)
                kwargs = {}  # they are the first step's
            async for piece in stream:
                pieces.append(piece)
                yield piece
        except BaseException as exc:
            await run.on_chain_error(exc, inputs=input)
            raise
        await run.on_chain_end("".join(pieces), inputs=input)


async def _once(input: Any) -> AsyncIterator[Any]:
    yield input
