"""Docstrings, comments, names and pages in plain English: patterns to avoid.

`prose.json` counts the breaches that each file still has. A count may only shrink: a file
with fewer breaches than its count fails too, until the count is lowered. At `{}` no file
has any, and no entry can come back. `python tests/test_prose.py` writes the counts anew.
"""

import ast
import functools
import io
import json
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import parsed
import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = ROOT / "tests" / "prose.json"
FOLDERS = ("mtra_jax", "scripts", "configs", "tests")
# What each stands for is said more plainly by the name of the thing, or by its verb.
PATTERNS = {
    "begins with 'Of'": r"\AOf\b",
    "'is no X', 'are no X'": r"(?<![Tt]here )\b(?:is|are) no (?!better\b|longer\b)[`\w]",
    "'is none', 'are none'": r"\b(?:is|are) none\b",
    "'goes on', 'went on'": r"\b(?:goes|went) on\b",
    "'was got over'": r"\bgot over\b",
    "'so many'": r"\bso many\b",
    "'of its own', 'of their own'": r"\bof (?:its|their) own\b",
}
NAMES = {"found", "seen", "known", "kept"}


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Lines and docstrings of the module, its classes and functions."""
    for node in parsed.nodes(source):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield getattr(node, "lineno", 1), ast.get_docstring(node) or ""


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Lines and texts of the docstrings, the blocks of comments and the names of tests."""
    for node in parsed.nodes(source):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            # The text below a constant documents it.
            if isinstance(statement, ast.Expr) and isinstance(
                getattr(statement.value, "value", None), str
            ):
                yield statement.lineno, statement.value.value.strip()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name.replace("_", " ")
    yield from comments(source)


def comments(source: str) -> Iterator[tuple[int, str]]:
    """First lines and texts of the comments; lines that follow each other are one text."""
    first, last, parts = 0, -1, []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if line != last + 1:
            if parts:
                yield first, " ".join(parts)
            first, parts = line, []
        parts.append(token.string.lstrip("# "))
        last = line
    if parts:
        yield first, " ".join(parts)


def assigned(source: str) -> Iterator[tuple[int, str]]:
    """Lines and names of the variables, arguments and fields that are assigned."""
    for node in parsed.nodes(source):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def paragraphs(page: str) -> Iterator[tuple[int, str]]:
    """First lines and texts of the paragraphs and tables of a Markdown page."""
    line = 1
    for text in page.split("\n\n"):
        yield line, text
        line += text.count("\n") + 2


def breaches_of(prose: Iterable[tuple[int, str]]) -> list[str]:
    """The texts that match a pattern, each with its line and what is wrong."""
    return [
        f"{line}: {name}"
        for line, text in prose
        for name, pattern in PATTERNS.items()
        if re.search(pattern, " ".join(text.split()))
    ]


def breaches(source: str) -> list[str]:
    """The breaches of a module, with their lines."""
    prose = breaches_of(texts(source))
    prose += [
        f"{line}: begins with 'What'"
        for line, text in docstrings(source)
        if re.match(r"What\b", text)
    ]
    names = [
        f"{line}: a value named `{name}`"
        for line, name in assigned(source)
        if name in NAMES
    ]
    return prose + names


@functools.cache
def files() -> dict[str, Path]:
    return {
        path.relative_to(ROOT).as_posix(): path
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != Path(__file__).resolve()
    }


def counts() -> dict[str, int]:
    """The number of breaches of each file that has any."""
    numbers = {
        name: len(breaches(path.read_text(encoding="utf-8")))
        for name, path in files().items()
    }
    return {name: number for name, number in numbers.items() if number}


PAGES = [
    *ROOT.glob("*.md"),
    *(
        path
        for folder in (*FOLDERS, "results")
        for path in (ROOT / folder).rglob("*.md")
    ),
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_is_plain(path):
    assert breaches_of(paragraphs(path.read_text(encoding="utf-8"))) == []


def test_a_paragraph_is_read_over_its_lines():
    page = "# A\n\nFine.\n\nEach has a value of\nits own.\n"
    assert breaches_of(paragraphs(page)) == ["5: 'of its own', 'of their own'"]


@pytest.mark.parametrize("name", files())
def test_the_prose_is_plain(name):
    lines = breaches(files()[name].read_text(encoding="utf-8"))
    allowed = json.loads(ALLOWED.read_text()).get(name, 0)
    assert len(lines) <= allowed, "\n".join(["", *(f"{name}:{x}" for x in lines)])
    assert len(lines) == allowed, f"lower the count of {name} to {len(lines)}"


def test_the_counts_name_files_that_exist():
    assert json.loads(ALLOWED.read_text()).keys() <= files().keys()


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ('"""Of a module."""', 1),
        ("def f():\n    '''Returns what is none.'''", 1),
        ("# one that\n# goes on", 1),
        ("# that goes\n# on", 1),
        ("def test_texts_that_are_none(): ...", 1),
        ('"""What a module does."""', 1),
        ("def f():\n    '''A value that is no number.'''", 1),
        ("# There is no other; it is no better.", 0),
        ("x = 1\n'''A value of its own.'''", 1),
        ("found = 1", 1),
        ("def f(known): ...", 1),
        ("for seen in (): ...", 1),
        ("state.kept = 1", 1),
        ("print(found.kept)", 0),
        ("x = 'so many'", 0),
        ('"""Offers a value; none is lost."""', 0),
        ("# Often the loop is on", 0),
    ],
)
def test_a_breach_is_counted(source, number):
    assert len(breaches(source)) == number


if __name__ == "__main__":
    ALLOWED.write_text(json.dumps(counts(), indent=2) + "\n")
