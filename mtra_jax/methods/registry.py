"""The methods by name. Tests, tables and option checks follow these rows."""

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.methods import (
    base,
    dwa,
    ew,
    gls,
    hierarchical_mtl,
    imtl_l,
    infomtl,
    mt_vib,
    mtra,
    pcgrad,
    rlw,
    si,
    stl,
    stl_cnn,
    tw,
    uw,
    vmtl,
)


class Entry(NamedTuple):
    """A method: its factory, and how its runs are set up.

    `needs` says what a step costs or must hold. `sampling` is the default of the config
    value of that name. With `is_separate` each task is trained in a run of its own.
    """

    make: Callable[..., base.Method]
    title: str
    needs: str
    sampling: str = "per_task"
    is_separate: bool = False


METHODS: dict[str, Entry] = {
    "ew": Entry(ew.make, "EW", "one pass"),
    "si": Entry(si.make, "SI", "one pass"),
    "tw": Entry(tw.make, "TW", "one pass"),
    "uw": Entry(uw.make, "UW", "all losses", "joint"),
    "gls": Entry(gls.make, "GLS", "all losses", "joint"),
    "dwa": Entry(dwa.make, "DWA", "all losses", "joint"),
    "pcgrad": Entry(pcgrad.make, "PCGrad", "T gradients", "joint"),
    "imtl_l": Entry(imtl_l.make, "IMTL-L", "all losses", "joint"),
    "rlw": Entry(rlw.make, "RLW", "all losses", "joint"),
    "mt_vib": Entry(mt_vib.make, "MT-VIB", "one pass"),
    "vmtl": Entry(vmtl.make, "VMTL", "all tasks' texts", "joint"),
    "hierarchical_mtl": Entry(hierarchical_mtl.make, "Hierarchical MTL", "one pass"),
    "infomtl": Entry(infomtl.make, "InfoMTL", "two passes"),
    "mtra": Entry(mtra.make, "MTRA", "two passes"),
    "stl": Entry(stl.make, "STL", "a run a task", is_separate=True),
    "stl_cnn": Entry(stl_cnn.make, "STL with CNN", "a run a task", is_separate=True),
}


def options(name: str) -> dict[str, Any]:
    """The options of method `name` with their defaults: the keywords of its factory.

    Raises:
      InputError: an unknown method.
    """
    parameters = inspect.signature(_entry(name).make).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def sampling(name: str) -> str:
    """The sampling of method `name` unless another is set.

    Raises:
      InputError: an unknown method.
    """
    return _entry(name).sampling


def _entry(name: str) -> Entry:
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; {did_you_mean(name, METHODS)}")
    return METHODS[name]


def overview() -> str:
    """The table of the README: name, one line and paper of each method."""
    heads = ("method", "what it does", "source")
    return _table(heads, [(f"`{name}`", *_described(name)) for name in METHODS])


def details() -> str:
    """The table of `methods/README.md`: titles, what a step needs, default sampling."""
    heads = ("method", "title", "needs", "sampling")
    rows = []
    for name, entry in METHODS.items():
        module = inspect.getmodule(entry.make)
        file = f"{module.__name__.rpartition('.')[2]}.py"
        rows.append((f"[`{name}`]({file})", entry.title, entry.needs, entry.sampling))
    return _table(heads, rows)


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        for cells in lines
    )


def _described(name: str) -> tuple[str, str]:
    """The first line of the method's docstring, and its source."""
    doc = inspect.getdoc(inspect.getmodule(METHODS[name].make)) or ""
    return doc.partition("\n")[0], _source(doc)


def _source(doc: str) -> str:
    """The paper of a module's docstring: its `Source:` up to the equations."""
    found = re.search(r"Source: (.+?)(?:\n\n|$)", doc, re.DOTALL)
    text = " ".join(found.group(1).split()) if found else ""
    return re.split(r"[,;:(]", text)[0].strip()
