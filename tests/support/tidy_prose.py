"""Prose in source files: docstrings and comments, and the phrases that a stranger to the project stumbles over."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from tests.support.house import FunctionNode, Source

# A docstring begins with the thing or with the verb, not with a question that the reader has to answer.
_QUESTION = re.compile(r"(?:What|Who|How|Whether)\b")


def docstrings(source: Source) -> Iterator[tuple[str, str]]:
    """The docstrings of a module, its classes and its functions, each with the name of its owner."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Module | ast.ClassDef | FunctionNode) and (
            text := ast.get_docstring(node)
        ):
            yield getattr(node, "name", "the module"), text


def comments(source: Source) -> Iterator[str]:
    """The comments of a file; lines of comment that follow each other are one text."""
    block: list[str] = []
    last_line = -1
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type != tokenize.COMMENT:
            continue
        if token.start[0] != last_line + 1 and block:
            yield " ".join(block)
            block = []
        block.append(token.string.lstrip("# "))
        last_line = token.start[0]
    if block:
        yield " ".join(block)


def questioning_docstrings(files: Iterable[Source]) -> set[tuple[str, str]]:
    """Path and owner of each docstring that begins with What, Who, How or Whether."""
    return {
        (file.path, owner)
        for file in files
        for owner, text in docstrings(file)
        if _QUESTION.match(text)
    }


def dialect_counts(files: Iterable[Source], phrases: Mapping[str, object]) -> dict[str, int]:
    """The occurrences of each phrase in docstrings and comments, in any case and across line breaks."""
    patterns = {
        phrase: re.compile(rf"\b{re.escape(phrase)}\b".replace(r"\ ", r"\s+"), re.IGNORECASE)
        for phrase in phrases
    }
    counts: Counter[str] = Counter()
    for file in files:
        prose = "\n\n".join([*(text for _, text in docstrings(file)), *comments(file)])
        for phrase, pattern in patterns.items():
            counts[phrase] += len(pattern.findall(prose))
    return {phrase: counts[phrase] for phrase in phrases}
