"""The registry -> the tables of methods that the READMEs show."""

import re

from mtra_jax.methods import registry


def overview(*, in_papers: bool = True) -> str:
    """Returns the name, first line and source of each method as a table.

    The README has the methods of the papers, `methods/README.md` the others.
    """
    columns = ("method", "what it does", "source")
    own = [
        name for name, entry in registry.METHODS.items() if entry.in_papers == in_papers
    ]
    return _table(columns, [(f"`{name}`", *_described(name)) for name in own])


def details() -> str:
    """Returns the table of `methods/README.md`: costs of a step, and setup of runs."""
    columns = ("method", "title", "reads", "passes", "sampling", "runs")
    rows: list[tuple[str, ...]] = []
    for name, entry in registry.METHODS.items():
        method = registry.example(name)
        *_, package, module = entry.make.__module__.split(".")
        file = f"{module}.py" if package == "methods" else f"../{package}/{module}.py"
        row = (
            f"[`{name}`]({file})",
            entry.title,
            method.reads,
            str(method.passes),
            entry.sampling,
            "one per task" if entry.is_separate else "one",
        )
        rows.append(row)
    return _table(columns, rows)


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        for cells in lines
    )


def _described(name: str) -> tuple[str, str]:
    """Returns the first line of the method's text, and its source."""
    doc = registry.METHODS[name].doc
    return doc.partition("\n")[0], _source(doc)


def _source(doc: str) -> str:
    """Returns the paper that a docstring cites after `Source:`, without equations."""
    match = re.search(r"Source: (.+?)(?:\n\n|$)", doc, re.DOTALL)
    text = " ".join(match.group(1).split()) if match else ""
    return re.split(r"[,;:(]", text)[0].strip()
