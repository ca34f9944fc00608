"""Runs -> their ends, several at a time, each in a process.

A process gets a share of the cores (of the memory on a GPU), and one line of JSON on its
standard input, which stays open: at its end the process saves and ends, so none outlives
this one. What it has to say comes back as lines of JSON; all else goes to `log.txt` in the
directory of its run. `worker` is the other side.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from mtra_jax.errors import InputError
from mtra_jax.runs import loop
from mtra_jax.runs import workdir as run_files
from mtra_jax.runs.experiments import Overrides, Trial
from mtra_jax.train import devices

LOG = "log.txt"
POLL_SECONDS = 0.2
"""Time between two checks whether a signal has arrived."""
ALLOCATOR, FRACTION = "XLA_PYTHON_CLIENT_ALLOCATOR", "XLA_PYTHON_CLIENT_MEM_FRACTION"
"""JAX's variables: how a process takes memory of a GPU, and how much of it at its start."""
ALL_OF_A_GPU = 0.9

_set_here: list[str] = []


class Work(NamedTuple):
    """A run to be trained: one of a sweep, or a trial of a search. `label`: for lines."""

    kind: Literal["run", "trial"]
    label: str
    trial: Trial
    overrides: Overrides
    directory: Path


class Ending(NamedTuple):
    """How a run has ended: in `state`, after `seconds`.

    `reason`: why it failed or was refused. `record`: the fields of the `Record` of a trial
    of a search.
    """

    state: Literal["finished", "failed", "refused"]
    seconds: float
    reason: str = ""
    record: dict[str, Any] | None = None


class Stopped(loop.Stopped):
    """Several runs stopped as requested, with their states saved."""

    def __init__(self, count: int) -> None:
        super().__init__(0)
        self.args = (f"stopped {count} runs",)


def start_devices(num_workers: int) -> None:
    """Starts the devices of a process that will have `num_workers`.

    With more than one it takes memory of a GPU only while it uses it itself.

    Raises:
      InputError: there are several workers, and several processes run this command together.
      RunError: no device can be used.
    """
    if num_workers > 1 and ALLOCATOR not in os.environ:
        os.environ[ALLOCATOR] = "platform"
        _set_here.append(ALLOCATOR)
    devices.start_devices()
    if num_workers > 1 and jax.process_count() > 1:
        raise InputError(
            f"--jobs {num_workers}: {jax.process_count()} processes run this command "
            "together; expected --jobs 1"
        )


def run_all(
    works: Sequence[Work],
    num_workers: int,
    say: Callable[[str], None],
    should_stop: Callable[[int | None], bool],
) -> Iterator[tuple[int, Ending]]:
    """Trains `num_workers` of the runs at a time; yields (index, how it ended) at each end.

    `say` receives a line as each run starts, and those about problems that were recovered.

    Raises:
      InputError: what a run needs is missing or wrong; the others were stopped and saved.
      loop.Stopped: `should_stop(None)` returned True; all were stopped and saved.
    """
    waiting = deque(enumerate(works))
    free = deque(range(num_workers))
    running: dict[int, _Worker] = {}
    messages: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()
    try:
        while waiting or running:
            while waiting and free:
                index, work = waiting.popleft()
                has_begun = (work.directory / run_files.CONFIG).exists()
                say(f"{work.label}: {'continues' if has_begun else 'starts'}")
                place = free.popleft()
                running[index] = _Worker(work, index, place, num_workers, messages)
            if should_stop(None):
                raise Stopped(len(running))
            try:
                index, message = messages.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if "say" in message:
                say(f"{works[index].label}: {message['say']}")
                continue
            worker = running.pop(index)
            free.append(worker.place)
            ending = worker.ending(message)
            if ending.state == "refused":
                raise InputError(ending.reason)
            yield index, ending
    finally:
        for worker in running.values():
            worker.stop()
        for worker in running.values():
            worker.process.wait()


class _Worker:
    """The process of a run, and the thread that reads what it says."""

    def __init__(
        self,
        work: Work,
        index: int,
        place: int,
        num_workers: int,
        messages: "queue.Queue[tuple[int, dict[str, Any]]]",
    ) -> None:
        self.place = place
        self._log = work.directory / LOG
        self._index, self._messages = index, messages
        self._started = time.monotonic()
        work.directory.mkdir(parents=True, exist_ok=True)
        line = {
            "kind": work.kind,
            "trial": work.trial,
            "overrides": work.overrides,
            "directory": str(work.directory),
            "cores": cores(place, num_workers),
        }
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mtra_jax.runs.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(num_workers),
                start_new_session=True,  # Ctrl-C reaches this process alone
            )
        self._send(f"{json.dumps(line)}\n".encode())
        threading.Thread(target=self._read, name="worker", daemon=True).start()

    def _send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: `_read` sees that
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def _read(self) -> None:
        """Passes the messages of the process on, and one without content at its end."""
        end: dict[str, Any] = {}
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "say" in message:
                self._messages.put((self._index, message))
            else:
                end = message
        self.process.wait()
        self._messages.put((self._index, end))

    def ending(self, message: dict[str, Any]) -> Ending:
        """How the run ended, by its last message; a process may end without one."""
        seconds = time.monotonic() - self._started
        assert self.process.stdin is not None
        self.process.stdin.close()
        if message:
            return Ending(**message, seconds=seconds)
        code = self.process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Ending(
            "failed", seconds, f"its process ended with {how}; see {self._log}"
        )

    def stop(self) -> None:
        """Asks the process to save and end."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)


def cores(place: int, num_workers: int) -> list[int]:
    """The cores of worker `place`; [] where a process cannot be bound to some."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    own = sorted(os.sched_getaffinity(0))
    return own[place::num_workers] or [own[place % len(own)]]


def environment(num_workers: int) -> dict[str, str]:
    """The environment of a worker, with its share of a GPU's memory."""
    own = {key: v for key, v in os.environ.items() if key not in _set_here}
    own.setdefault(FRACTION, f"{ALL_OF_A_GPU / num_workers:.3f}")
    return own
