"""Figures of a run -> `metrics.jsonl` and the loggers; versions of packages."""

import contextlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtra_jax import files
from mtra_jax.errors import InputError, naming
from mtra_jax.runs.loggers.contract import Logger

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tokenizers")
METRICS = "metrics.jsonl"
DIAGNOSTICS = "diagnostics.jsonl"
TEST = b'"test/'
"""Begins each name of a test figure in a line of `metrics.jsonl`."""
JOBS = "MTRA_JAX_JOBS"
"""The variable in which `workers` tells a run how many are trained at a time."""


def environment(devices: list[jax.Device]) -> dict[str, Any]:
    """Versions, devices and git revision; None for those that cannot be read.

    `jobs`: how many runs the command trains at a time, each in a process.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "jobs": int(os.environ.get(JOBS, "1")),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": [device.device_kind for device in devices],
        "processes": jax.process_count(),
        "git_revision": _git_revision(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """The commit of this package's checkout, with "-dirty" if it has changes.

    None for an installed package, also where its environment is inside another checkout.
    """
    file = Path(__file__)

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=file.parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout

    try:
        git("ls-files", "--error-unmatch", file.name)
        described = git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None
    return described.strip()


def flatten(measured: dict[str, Any], tasks: tuple[str, ...]) -> dict[str, float]:
    """A step's metrics as `loss/<task>`, `weight/<task>`, `<term>/<task>`, `norm/...`.

    Tasks without an example in the step are left out.
    """
    flat = {"objective": float(measured["objective"])}
    arrays = {"loss": measured["losses"], "weight": measured["weights"]}
    for name, values in {**arrays, **measured["terms"]}.items():
        for index in np.flatnonzero(measured["present"]):
            flat[f"{name}/{tasks[index]}"] = float(values[index])
    return flat | {name: float(value) for name, value in measured["scalars"].items()}


def of_validation(
    losses: dict[str, float],
    scores: dict[str, dict[str, float]],
    terms: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, float]:
    """The losses, scores and terms of each task as `validation/...`.

    >>> of_validation({"irony": 0.5}, {"irony": {"macro_f1": 60.0}}, {"mi": {"irony": 0.1}})
    {'validation/loss/irony': 0.5, 'validation/mi/irony': 0.1, 'validation/irony/macro_f1': 60.0}
    """
    named = {f"validation/loss/{task}": loss for task, loss in losses.items()}
    for name, figures in (terms or {}).items():
        named |= {f"validation/{name}/{task}": v for task, v in figures.items()}
    for task, figures in scores.items():
        named |= {f"validation/{task}/{name}": v for name, v in figures.items()}
    return named


def of_test(summary: Mapping[str, Any]) -> dict[str, float]:
    """The test figures of `results.json` as `test/...`.

    >>> of_test({"emotion": {"macro_f1": 76.5}, "avg": 76.5})
    {'test/emotion/macro_f1': 76.5, 'test/avg': 76.5}
    """
    named: dict[str, float] = {}
    for name, figures in summary.items():
        of_task = figures if isinstance(figures, Mapping) else {"": figures}
        named |= {f"test/{name}/{key}".rstrip("/"): v for key, v in of_task.items()}
    return named


class MetricsLog:
    """Passes figures to `metrics.jsonl` and loggers; does nothing with `active=False`.

    Opened at `step`, it first drops all lines after that step, and the test figures, so
    that a continued run has each step once. `start` starts the loggers and returns them.
    With `diagnoses`, `diagnose` writes to `diagnostics.jsonl`, which is treated alike.
    """

    def __init__(
        self,
        directory: Path,
        *,
        step: int,
        active: bool = True,
        start: Callable[[], Iterable[Logger]] = tuple,
        diagnoses: bool = False,
    ) -> None:
        self._active = active
        if not active:
            return
        names = [METRICS]
        if diagnoses or (directory / DIAGNOSTICS).exists():
            names.append(DIAGNOSTICS)
        for name in names:
            _keep_until(directory / name, step)
        self._files = {
            name: (directory / name).open("a", encoding="utf-8") for name in names
        }
        self._loggers = tuple(start())

    def add(self, step: int, values: dict[str, Any]) -> None:
        """Adds a line to `metrics.jsonl`, and all values to each logger."""
        if not self._active:
            return
        self._write(METRICS, step, values)
        for logger in self._loggers:
            logger.log(step, values)

    def diagnose(self, step: int, values: dict[str, Any]) -> None:
        """Adds a line to `diagnostics.jsonl`."""
        if self._active:
            self._write(DIAGNOSTICS, step, values)

    def _write(self, name: str, step: int, values: dict[str, Any]) -> None:
        line = files.plain({"step": step, **values})
        file = self._files[name]
        with naming(file.name):
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def flush(self) -> None:
        """Writes all lines to disk."""
        if not self._active:
            return
        for file in self._files.values():
            with naming(file.name):
                file.flush()
                os.fsync(file.fileno())
        for logger in self._loggers:
            logger.flush()

    def close(self) -> None:
        """Flushes and closes."""
        if not self._active:
            return
        with contextlib.ExitStack() as opened:
            for logger in self._loggers:
                opened.callback(logger.close)
            for file in self._files.values():
                opened.enter_context(naming(file.name))
                opened.callback(file.close)
            self.flush()


def _keep_until(path: Path, step: int) -> None:
    """Drops the lines of `path` after `step`, the test figures and a line that was cut off.

    Raises:
      InputError: a line other than the last is damaged.
    """
    if not path.exists():
        return
    lines = path.read_bytes().splitlines()
    steps = [_step_of(line) for line in lines]
    while steps and steps[-1] is None:
        steps.pop()
    if None in steps:
        raise InputError(
            f"{path}:{steps.index(None) + 1}: damaged; expected a line of figures with "
            "their step, or no such file, to continue without the earlier figures"
        )
    pairs = zip(lines, steps, strict=False)
    earlier = [
        line.decode()
        for line, at in pairs
        if at is not None and at <= step and TEST not in line
    ]
    files.write_text(path, "".join(f"{line}\n" for line in earlier))


def _step_of(line: bytes) -> int | None:
    """The step of a line of `metrics.jsonl`; None if the line is damaged."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return None
    return step if type(step) is int else None
