"""Measurements and a deadline -> processes with time limits, and a file of figures.

Every child writes its figures, JSON lines, to a pipe. This process appends them to
`measurements.jsonl` and prints them as they arrive, so that no measured figure is lost
if a child is killed at its limit, or this process is.
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FIGURES = "measurements.jsonl"
LOGS = "logs"
MARGIN = 3.0
"""Seconds before the deadline at which the last child is ended."""
LEAST = 5.0
"""A measurement with fewer seconds left is not started."""
SLACK = 2.0
"""A measurement may take this many times its share, because most take less."""
PR_SET_PDEATHSIG = 1


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A process that measures: `module.measure(options, emit)`.

    `weight` sets its share of the remaining time among the remaining measurements.
    """

    name: str
    module: str
    weight: float
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Record:
    """Writes each figure to a file and the terminal as soon as it is measured."""

    def __init__(self, directory: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(directory / FIGURES, flags, 0o644)
        self._started = time.monotonic()

    def add(self, measurement: str, figure: str, text: str, **values: Any) -> None:
        """Writes each line in one call of `write`, so that a kill cannot cut it."""
        line = {
            "measurement": measurement,
            "figure": figure,
            "text": text,
            "at_seconds": round(time.monotonic() - self._started, 2),
            **values,
        }
        os.write(self._file, json.dumps(line).encode() + b"\n")
        os.fsync(self._file)
        first, *rest = text.split("\n")
        print(f"{measurement:14}  {figure:20}  {first}", flush=True)
        for continued in rest:
            print(f"    {continued}", flush=True)

    def close(self) -> None:
        os.close(self._file)


def run(
    measurements: Sequence[Measurement],
    options: Mapping[str, Any],
    directory: Path,
    seconds: float,
) -> int:
    """Runs the measurements in their order within `seconds`; returns an exit code.

    A figure's values under "context" become options of the later measurements. The exit
    code is 0 if at least one measurement finished, else 1.
    """
    deadline = time.monotonic() + seconds - MARGIN
    record = Record(directory)
    logs = directory / LOGS
    logs.mkdir(exist_ok=True)
    context: dict[str, Any] = {**options, "root": str(ROOT)}
    command = " ".join(sys.argv)
    record.add("run", "command", command, seconds=seconds, time=time.time())
    num_finished = 0
    for place, measurement in enumerate(measurements):
        limit = share(measurements[place:], deadline - time.monotonic())
        if limit < LEAST:
            record.add(measurement.name, "skipped", "no time is left", status="skipped")
            continue
        num_finished += _one(measurement, context, record, logs, limit)
    record.add("run", "end", f"{num_finished} of {len(measurements)} measured")
    record.close()
    return 0 if num_finished else 1


def share(remaining: Sequence[Measurement], seconds: float) -> float:
    """The limit of the first of `remaining` if `seconds` are left for all of them.

    >>> kinds = [Measurement("a", "a", 1), Measurement("b", "b", 3)]
    >>> share(kinds, 40.0), share(kinds[1:], 30.0)
    (20.0, 30.0)
    """
    total = sum(measurement.weight for measurement in remaining)
    return min(seconds, SLACK * seconds * remaining[0].weight / total)


def _one(
    measurement: Measurement,
    context: dict[str, Any],
    record: Record,
    logs: Path,
    limit: float,
) -> bool:
    """Runs one measurement for at most `limit` seconds; returns whether it succeeded."""
    name, started = measurement.name, time.monotonic()
    log = logs / f"{name}.log"
    with log.open("wb") as file:
        child = _start(measurement, {**context, "limit": limit}, file)
        try:
            for line in _lines(child, started + limit):
                context.update(line.pop("context", {}))
                record.add(name, **line)
        finally:
            is_late = child.poll() is None
            kill(child)
    seconds = time.monotonic() - started
    if child.returncode == 0:
        record.add(name, "done", f"{seconds:.1f} s", status="done", seconds=seconds)
        return True
    if is_late:
        reason = f"ended at its limit of {limit:.0f} s; the figures above are kept"
        status = "timed out"
    else:
        reason = f"failed after {seconds:.1f} s: {last_line(log)}"
        status = "failed"
    record.add(name, status, reason, status=status, seconds=seconds)
    return False


def _start(
    measurement: Measurement, options: Mapping[str, Any], log: Any
) -> subprocess.Popen:
    values = {**options, **measurement.options, "name": measurement.name}
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        **measurement.environment,
    }
    command = [sys.executable, str(HERE / "child.py"), measurement.module]
    return subprocess.Popen(
        [*command, json.dumps(values)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        cwd=ROOT,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


def _lines(child: subprocess.Popen, until: float) -> Iterator[dict[str, Any]]:
    """The JSON lines of `child` as they arrive, until it ends or the time is `until`."""
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0:
            if not selector.select(left):
                return
            data = os.read(child.stdout.fileno(), 1 << 16)
            if not data:
                break
            *whole, pending = (pending + data).split(b"\n")
            yield from map(json.loads, whole)
    # The pipe closes a little before the process ends.
    try:
        child.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return


def kill(child: subprocess.Popen) -> None:
    """Ends `child` and all processes of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _death_signal() -> Callable[[int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    return ctypes.CDLL(None, use_errno=True).prctl


_PRCTL = _death_signal()


def die_with_parent() -> None:
    """Asks the kernel, in a new process, for SIGKILL when its parent ends."""
    if _PRCTL is not None:
        _PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
