"""How often Python looks for cycles of garbage, which a process that traces and compiles hardly makes."""

import gc

SELDOM = (50_000, 20, 50)
"""Against 700, 10 and 10: a warm `gradlab probe` takes 9 % less processor time, the tests of `gradient` 7 %."""


def collect_seldom() -> None:
    """Look for garbage after 50,000 new objects; for a process of gradlab's own, not for one that imports it."""
    gc.set_threshold(*SELDOM)


def keep_what_is_there() -> None:
    """Never look at the objects of today again: what is imported is no garbage, and forks share its memory."""
    gc.freeze()
