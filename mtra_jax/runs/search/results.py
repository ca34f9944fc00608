"""Ended trials of a search -> the best one, a table, the lines of `trials.jsonl`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mtra_jax import files
from mtra_jax.reports.formatting import tables
from mtra_jax.runs.trials.spaces import Point
from mtra_jax.runs.trials.validation_run import Record

FILE = "trials.jsonl"


class Try(NamedTuple):
    """A trial of a space that has ended."""

    number: int
    point: Point
    record: Record


def shown(point: Point) -> str:
    """A point on one line.

    >>> shown((("learning_rate", "5e-05"), ("method.beta", "1")))
    'learning_rate=5e-05 beta=1'
    """
    return " ".join(f"{key.rpartition('.')[2]}={text}" for key, text in point)


def ending(record: Record) -> str:
    """How a trial ended, with its validation or the reason."""
    if record.figure is None:
        return f"{record.state}: {record.reason}"
    return f"{record.state}, validation {_figure(record)}"


def _figure(record: Record) -> str:
    return tables.MISSING if record.figure is None else f"{record.figure:.4f}"


def best(tries: Sequence[Try]) -> Try | None:
    """The finished trial with the lowest score, the first of equals; None without any."""
    finished = [t for t in tries if t.record.state == "finished"]
    return min(finished, key=lambda t: t.record.score, default=None)


def table(name: str, selection: str, tries: Sequence[Try]) -> str:
    """The trials of the space `name` in lines, the best one marked."""
    chosen = best(tries)
    heads = [key.rpartition(".")[2] for key, _ in tries[0].point]
    body = [("trial", *heads, f"validation {selection}", "epochs", "ended")]
    for each in tries:
        record = each.record
        state = f"{record.state}, best" if each is chosen else record.state
        values = (text for _, text in each.point)
        body.append(
            (str(each.number), *values, _figure(record), str(record.epochs), state)
        )
    reasons = [
        f"trial {t.number} {t.record.state}: {t.record.reason}"
        for t in tries
        if t.record.reason
    ]
    return "\n".join([name, tables.align(body), *reasons])


def store(workdir: Path, name: str, selection: str, tries: Sequence[Try]) -> None:
    """Replaces the lines of the space `name` in `trials.jsonl`, one for each trial."""
    path = workdir / FILE
    before = [v for _, v in files.json_lines(path)] if path.exists() else []
    others = [v for v in before if isinstance(v, dict) and v.get("name") != name]
    lines = [*others, *(_line(name, selection, each) for each in tries)]
    files.write_text(path, "".join(f"{json.dumps(line)}\n" for line in lines))


def _line(name: str, selection: str, tried: Try) -> dict[str, object]:
    record = tried.record
    return {
        "name": name,
        "trial": tried.number,
        "values": {key: float(text) for key, text in tried.point},
        "selection": selection,
        "validation": record.figure,
        "state": record.state,
        "epochs": record.epochs,
        "seconds": record.seconds,
    }
