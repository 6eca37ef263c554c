"""Texts of users as pages, figures and Markdown show them: never parsed, without folders of their machine."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from gradlab.runs.jsonable import printable

_ABSOLUTE = re.compile(r"(?<![\w./~:<-])/(?:[\w.@+%~-]+/)+([\w.@+%~-]*)")
_MARKS = re.compile(r"[\\`*<|~$]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)|(?<=\])[(\[:]")
_AT_START = re.compile(r"(?=(?:#{1,6}|[-+])(?:\s|$)|>|=+\s*$|-+\s*$|\[)|\d+(?=[.)](?:\s|$))")
_ENTITIES = {"<": "&lt;", "&": "&amp;", "$": "&#36;"}
"""Marks that some readers of Markdown see behind a backslash."""


class Sentence(NamedTuple):
    """A sentence that begins with a name, which pages set apart; "" if it has none."""

    name: str
    rest: str

    def __str__(self) -> str:
        return self.name + self.rest


def public(text: str, keep: str = "\n") -> str:
    r"""Text for a page or figure that others see: control characters escaped, files named from the working folder.

    A file elsewhere begins at `~`, or has its last name alone: the folders above may hold the name of a user.

    Example:
        >>> public(f"{Path.cwd()}/own.py, line 3 of /home/ada/cells/own.py\x1b")
        'own.py, line 3 of own.py\\x1b'
    """
    if "/" in text:
        text = text.replace(f"{Path.cwd()}/", "")
        text = re.sub(rf"(?<![\w.~-]){re.escape(os.path.expanduser('~'))}(?![\w.-])", "~", text)
        text = _ABSOLUTE.sub(lambda found: found[1] or "folder", text)
    return printable(text, keep)


def markdown(text: str, *, start: bool = True) -> str:
    r"""Text that Markdown and what GitHub adds to it show as it is; `start` if it may begin a line.

    Example:
        >>> print(markdown("**a** `b`|<c> $x$ forget_bias=1 [1.2, 3.4](u)"))
        \*\*a\*\* \`b\`\|&lt;c> &#36;x&#36; forget_bias=1 [1.2, 3.4]\(u)
        >>> print(markdown("- 1. no list"), markdown("1. no list"))
        \- 1. no list 1\. no list
    """
    text = _MARKS.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), public(text, ""))
    begins = _AT_START.match(text) if start else None
    return text if begins is None else f"{begins[0]}\\{text[begins.end() :]}"
