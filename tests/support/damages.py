"""Every field of a JSON value, and what may stand there instead."""

import copy

WRONG = (None, "x", -1, 1.5, True, [], {}, [[]], "\ud800", 10**400)


def places(value, at=()):
    """The path of every field below a value; of a list only that of its first item."""
    if isinstance(value, dict | list) and value:
        for key in value if isinstance(value, dict) else [0]:
            yield (*at, key)
            yield from places(value[key], (*at, key))


def changed(value, place, new):
    """A copy with another value at a place; `...` removes it."""
    value = copy.deepcopy(value)
    inner = value
    for key in place[:-1]:
        inner = inner[key]
    if new is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = new
    return value
