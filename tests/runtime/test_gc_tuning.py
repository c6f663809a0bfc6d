"""How Python collects garbage in a process of ours."""

import gc
from collections.abc import Iterator

import pytest

from backend.app import load_configured_chain
from backend.runtime.gc_tuning import YOUNGEST_OBJECTS, collect_seldom
from backend.settings import Settings


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave the collector as it was."""
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


async def test_a_loaded_chain_is_not_collected() -> None:
    """What LangChain has brought is set aside, so that a full collection takes no time."""
    await load_configured_chain(Settings(openai_api_key="sk-test", redis_url="redis://x"))
    assert gc.get_freeze_count() > 50_000
    assert len(gc.get_objects()) < 10_000


def test_collections_are_rare() -> None:
    """The youngest objects are collected once there are many."""
    collect_seldom()
    assert gc.get_threshold()[0] == YOUNGEST_OBJECTS
