"""The text of a Python file -> its syntax tree and nodes, once for all tests that read it."""

import ast
import functools


@functools.cache
def tree(text: str) -> ast.Module:
    """The syntax tree of `text`."""
    return ast.parse(text)


@functools.cache
def nodes(text: str) -> list[ast.AST]:
    """All nodes of the syntax tree of `text`, parents before children."""
    return list(ast.walk(tree(text)))
