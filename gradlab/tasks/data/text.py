"""Texts that Python and installed packages bring along, as token ids in three contiguous parts."""

import ast
import gc
import importlib.util
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gradlab.tasks.data.parts import Parts, contiguous, digest_of

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy")
"""Dependencies of gradlab, so that each of them is there."""
_WORD = re.compile(r"[^\W\d_]+|\d+")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Corpus(NamedTuple):
    """A text in token ids; 0 is what is not in the vocabulary.

    Attributes:
        parts: arrays of ids. size: of the vocabulary, with 0. digest: of the text.
    """

    parts: Parts
    size: int
    digest: str


@lru_cache
def characters() -> Corpus:
    """The documentation inside Python (`pydoc_data.topics`), each paragraph once: many stand in several topics."""
    from pydoc_data.topics import topics

    text = "\n\n".join(dict.fromkeys("\n\n".join(topics[name] for name in sorted(topics)).split("\n\n")))
    return corpus(text, text, None)


@lru_cache
def words(vocabulary: int) -> Corpus:
    """The words of the docstrings of `PACKAGES`, each docstring once; in lower case, any number as `0`.

    Args:
        vocabulary: how many words have an id of their own; the others are 0.
    """
    tokens = _words()
    return corpus(tokens, " ".join(tokens), vocabulary - 1)


@lru_cache
def _words() -> list[str]:
    specs = (importlib.util.find_spec(name) for name in PACKAGES)
    collecting = gc.isenabled()
    gc.disable()  # syntax trees are many small objects: looking for garbage among them takes half of the time
    try:
        found = [text for spec in specs if spec for text in docstrings(Path(str(spec.origin)).parent)]
    finally:
        if collecting:
            gc.enable()
    return words_in(found)


def words_in(texts: Iterable[str]) -> list[str]:
    """The words of texts, each text once.

    Example:
        >>> words_in(["Return the 10 largest x_i.", "See also", "See also"])
        ['return', 'the', '0', 'largest', 'x', 'i', 'see', 'also']
    """
    found = (word for text in dict.fromkeys(texts) for word in _WORD.findall(text.lower()))
    return ["0" if word.isdigit() else word for word in found]


def docstrings(root: Path) -> Iterator[str]:
    """The docstrings of the Python files in a folder, in the order of their paths; tests are left out.

    The files are parsed and never run.
    """
    for path in sorted(root.rglob("*.py")):
        if "tests" not in path.relative_to(root).parts:
            yield from _docstrings_in(ast.parse(path.read_bytes()))


def _docstrings_in(node: ast.AST) -> Iterator[str]:
    if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node)):
        yield text
    for child in getattr(node, "body", ()):
        if isinstance(getattr(child, "body", None), list):
            yield from _docstrings_in(child)


def corpus(tokens: str | list[str], text: str, most: int | None) -> Corpus:
    """Tokens as ids: 80 % to train, 10 % to validate, 10 % to test.

    Args:
        text: of which the digest is taken.
        most: tokens of the training part that have an id, the most frequent ones, before others those that come
            first in the alphabet; None for all.
    """
    parts = contiguous(tokens, 0.8, 0.1)
    ranked = sorted(Counter(parts.train).items(), key=lambda item: (-item[1], item[0]))[:most]
    ids = {token: rank for rank, (token, _) in enumerate(ranked, start=1)}
    dtype = np.uint8 if len(ids) < 256 else np.uint16
    arrays = (np.array([ids.get(token, 0) for token in part], dtype) for part in parts)
    return Corpus(Parts(*arrays), len(ids) + 1, digest_of(text))
