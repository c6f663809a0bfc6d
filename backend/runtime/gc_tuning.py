"""Garbage-collection tuning: seldom, and not among the objects that stay for good.

A process that answers questions holds some 170,000 objects of its libraries. A collection that
goes through all of them takes 100 ms, in which no token is sent; and frees nothing.
"""

import gc

# The youngest generation is collected after so many new objects (Python's own default: 700).
# A token takes about 30, nearly all of which reference counting has freed when the next one comes.
YOUNGEST_OBJECTS = 10_000
COLLECTIONS_PER_OLDER_ONE = 20


def collect_seldom() -> None:
    """Set the collector's thresholds to what suits a server."""
    gc.set_threshold(YOUNGEST_OBJECTS, COLLECTIONS_PER_OLDER_ONE, COLLECTIONS_PER_OLDER_ONE)


def skip_existing_objects() -> None:
    """Exclude all objects that exist now from later collections: what was imported stays."""
    gc.freeze()
