"""Stored runs of the package -> rows and text to compare other runs with.

`stored_runs.json` holds them; `scripts/store_figures.py` trains the runs and writes it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from mtra_jax import files
from mtra_jax.reports.formatting import tables
from mtra_jax.reports.progress import end_of_run
from mtra_jax.tasks import BENCHMARKS, Task

PATH = Path(__file__).with_name("stored_runs.json")
# Keys that may differ between runs whose figures are compared: sampling (it belongs to
# the method), the seed, paths, and the way of computing.
FREE_KEYS = (
    "checkpoint_every",
    "data.cache_dir",
    "data.dir",
    "devices",
    "diagnostics.every",
    "gradient_pieces",
    "loggers",
    "mapping",
    "max_bad_steps",
    "merged_kernels",
    "micro_batches",
    "sampling",
    "seed",
)


class StoredRun(NamedTuple):
    """A finished run: its command, origin, configuration and results."""

    name: str
    """The title of its row in tables, for example "EW sum"."""
    method: str
    command: str
    date: str
    """Day on which it ended, as 2026-11-26."""
    commit: str
    machine: str
    """Class of the hardware, for example "two cores of an AMD EPYC"."""
    packages: dict[str, str]
    config: dict[str, Any]
    """As in `config.json`."""
    results: dict[str, Any]
    """As in `results.json`."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of the run, in the order of their benchmark."""
        benchmark = BENCHMARKS[self.config["benchmark"]]
        names = [name for name in self.results["test"] if name != "avg"]
        return benchmark.select(names).tasks

    @property
    def origin(self) -> str:
        """Seed, machine, version, day and commit, as text."""
        day = date.fromisoformat(self.date)
        return (
            f"seed {self.config['seed']}, {self.machine}, "
            f"jax {self.packages['jax']}, {day.day} {day:%B %Y}, "
            f"commit {self.commit[:7]}"
        )


def read(path: Path = PATH) -> list[StoredRun]:
    """The runs that come with the package."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return [StoredRun(**run) for run in values]


def find(
    runs: Sequence[StoredRun], method: str, config: Mapping[str, Any]
) -> list[StoredRun]:
    """The runs of `method` under the settings of `config`.

    `config`: as in `config.json`. Options of the method and `FREE_KEYS` may differ.
    """
    wanted = _settings(config)
    return [r for r in runs if r.method == method and _settings(r.config) == wanted]


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values on which figures depend, by their dotted keys."""
    return {
        key: value
        for key, value in files.flatten(config).items()
        if key not in FREE_KEYS and not key.startswith("method.") and key != "format"
    }


def text_block(runs: Sequence[StoredRun]) -> str:
    """The table of README.md, as a run prints it, and the origin of the runs.

    `runs`: those of EW, then MTRA, whose table it is.
    """
    *others, own = runs
    return (
        f"```\n{end_of_run.table(own.results, own.tasks, own.name, others)}\n```\n\n"
        f"{_origins(runs)}"
    )


def markdown_block(runs: Sequence[StoredRun]) -> str:
    """The table of results/README.md, in Markdown."""
    *others, own = runs
    rows = end_of_run.figure_rows(own.results, own.name, others)
    return f"{_origins(runs)}\n\n{tables.markdown_table(rows, own.tasks)}"


def _origins(runs: Sequence[StoredRun]) -> str:
    return "\n".join(
        f"* {run.name}: `{run.command}`\n"
        f"  ({run.origin}; {end_of_run.seconds(run.results)})"
        for run in runs
    )
