"""What a run saw -> `metrics.jsonl`, TensorBoard events and JSON files in its directory."""

import json
import math
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tokenizers")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` under a temporary name and renames it."""
    _replace(path, json.dumps(value, indent=2) + "\n")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def environment(devices: list[jax.Device]) -> dict[str, Any]:
    """Versions, devices and git revision, as far as they can be had."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
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
    """The commit of this package's checkout, with "-dirty" where it was changed."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def flatten(measured: dict[str, Any], tasks: tuple[str, ...]) -> dict[str, float]:
    """A step's metrics as `loss/<task>`, `weight/<task>`, `<term>/<task>`, `norm/...`.

    Only tasks that the step held appear.
    """
    flat = {"objective": float(measured["objective"])}
    arrays = {"loss": measured["losses"], "weight": measured["weights"]}
    for name, values in {**arrays, **measured["terms"]}.items():
        for index in np.flatnonzero(measured["present"]):
            flat[f"{name}/{tasks[index]}"] = float(values[index])
    return flat | {name: float(value) for name, value in measured["scalars"].items()}


class Records:
    """Appends to the records of a run; with `active=False` (other processes) does nothing.

    Opened again at `step`, it first drops what was recorded after that step, so that a
    run that was continued has each step once.
    """

    def __init__(self, directory: Path, *, step: int, active: bool = True) -> None:
        self._active = active
        self._tensorboard = None
        if not active:
            return
        path = directory / "metrics.jsonl"
        _keep_until(path, step)
        self._file = path.open("a", encoding="utf-8")
        self._tensorboard = _tensorboard(directory / "tensorboard", step)

    def add(self, step: int, values: dict[str, Any]) -> None:
        """One line of `metrics.jsonl`, and a TensorBoard point for every number."""
        if not self._active:
            return
        # JSON has no NaN: a null is what other readers can take.
        line = {key: _finite(value) for key, value in {"step": step, **values}.items()}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        if self._tensorboard is not None:
            for key, value in values.items():
                self._tensorboard.add_scalar(key, value, step)

    def flush(self) -> None:
        """Puts all lines on disk."""
        if self._active:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flushes and closes."""
        if self._active:
            self.flush()
            self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


def _finite(value: Any) -> Any:
    is_bad = isinstance(value, float) and not math.isfinite(value)
    return None if is_bad else value


def _keep_until(path: Path, step: int) -> None:
    """Drops the lines of `path` after `step`, and a last line that was cut off."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if entry["step"] <= step:
            kept.append(line + "\n")
    _replace(path, "".join(kept))


def _tensorboard(directory: Path, step: int) -> Any:
    """A writer of event files; None where the package is absent."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(directory), purge_step=step + 1 if step else None)
