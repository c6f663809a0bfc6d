"""How Python looks for garbage: seldom, and not among what stays for good.

A process that answers questions has some 170,000 objects of its libraries. To look through
all of them takes 100 ms, in which nobody gets a token; and there is nothing to be found.
"""

import gc

# Python looks through the youngest objects after so many new ones (its own default: 700).
# A token takes about 30, nearly all of which are gone by themselves when the next one comes.
YOUNG_OBJECTS = 10_000
LOOKS_PER_DEEPER_LOOK = 20


def look_seldom() -> None:
    """Look for garbage at a distance that suits a server."""
    gc.set_threshold(YOUNG_OBJECTS, LOOKS_PER_DEEPER_LOOK, LOOKS_PER_DEEPER_LOOK)


def keep_what_is_there() -> None:
    """Look at nothing any more that exists now: what was imported stays."""
    gc.freeze()
