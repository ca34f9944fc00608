"""Runs -> their ends, several at a time, each in a process.

A process gets a share of the machine, and one line of JSON on its standard input, which
stays open: at its end the process saves and ends, so none outlives this one. Its messages
come back as lines of JSON, and so do Python's warnings, which this process raises again;
all else goes to `log.txt` in the directory of its run.
`worker` is the other side.
"""

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from mtra_jax import failures
from mtra_jax.errors import InputError, caller_level
from mtra_jax.runs.directory import layout
from mtra_jax.runs.sweeps import shares
from mtra_jax.runs.training import loop
from mtra_jax.runs.trials.run_specs import Overrides, Trial

POLL_SECONDS = 0.2
"""Time between two checks whether a signal has arrived."""
STATES = ("finished", "failed", "refused", "stopped")
# The package of this process. Without -P the working directory would come first.
_START = [
    *(sys.executable, "-P", "-c"),
    "import sys; sys.argv[1] in sys.path or sys.path.insert(0, sys.argv[1]); "
    "from mtra_jax.runs.sweeps import worker; worker.start()",
    str(Path(__file__).resolve().parents[3]),
]


class Work(NamedTuple):
    """A run to be trained: one of a sweep, or a trial of a search. `label`: for lines."""

    kind: Literal["run", "trial"]
    label: str
    trial: Trial
    overrides: Overrides
    directory: Path


class Ending(NamedTuple):
    """How a run has ended: in `state`, after `seconds`.

    `reason`: why it failed, was refused or stopped. `record`: the fields of the `Record` of
    a trial of a search.
    """

    state: Literal["finished", "failed", "refused", "stopped"]
    seconds: float
    reason: str = ""
    record: dict[str, Any] | None = None


class Stopped(loop.Stopped):
    """Several runs stopped as requested, with their states saved."""

    def __init__(self, count: int) -> None:
        super().__init__(0)
        self.args = (f"stopped {count} runs",)


def run_all(
    works: Sequence[Work],
    num_workers: int,
    say: Callable[[str], None],
    should_stop: Callable[[int | None], bool],
    *,
    warn: Callable[[str], None] | None = None,
) -> Iterator[tuple[int, Ending]]:
    """Trains `num_workers` of the runs at a time; yields (index, how it ended) at each end.

    `say` receives a line as each run starts, `warn` those about problems that were
    recovered (default: `say`).

    Raises:
      InputError: what a run needs is missing or wrong; the others were stopped and saved.
      loop.Stopped: `should_stop(None)` returned True; all were stopped and saved.
    """
    pool = _Pool(works, max(1, min(num_workers, len(works))), say, warn or say)
    num_stopped = 0
    try:
        while pool.is_busy:
            if not pool.is_stopping and should_stop(None):
                pool.stop()
            yield from pool.start()
            for index, ending in pool.ends():
                if pool.is_stopping and ending.state == "stopped":
                    num_stopped += 1
                elif ending.state == "refused":
                    raise InputError(ending.reason)
                else:
                    yield index, _by_itself(ending)
        if pool.is_stopping:
            raise Stopped(num_stopped)
    finally:
        pool.close()


def _beginning(work: Work) -> str:
    has_begun = (work.directory / layout.CONFIG).exists()
    return "continues" if has_begun else "starts"


def _by_itself(ending: Ending) -> Ending:
    """The ending of a run that this process has not stopped."""
    return ending._replace(state="failed") if ending.state == "stopped" else ending


class _Pool:
    """The runs that wait, and the workers of those that are trained."""

    def __init__(
        self,
        works: Sequence[Work],
        num_workers: int,
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self.is_stopping = False
        self._works, self._num_workers = works, num_workers
        self._say, self._warn = say, warn
        self._waiting = deque(enumerate(works))
        self._free = deque(range(num_workers))
        self._running: dict[int, _Worker] = {}
        self._messages: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()

    @property
    def is_busy(self) -> bool:
        """Whether a run waits or is trained."""
        return bool(self._waiting or self._running)

    def start(self) -> Iterator[tuple[int, Ending]]:
        """Starts runs while there is a place; yields those that cannot be started."""
        while self._waiting and self._free:
            index, work = self._waiting.popleft()
            self._say(f"{work.label}: {_beginning(work)}")
            place = self._free.popleft()
            try:
                self._running[index] = _Worker(
                    work, index, place, self._num_workers, self._messages
                )
            except OSError as error:  # no place for its log, no more processes
                self._free.append(place)
                yield index, Ending("failed", 0.0, failures.os_error(error))

    def ends(self) -> Iterator[tuple[int, Ending]]:
        """Waits for a message; yields how the run ended if it is the last one."""
        try:
            index, message = self._messages.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        if "say" in message:
            self._warn(f"{self._works[index].label}: {message['say']}")
            return
        if "warning" in message:
            # As in `cli`, which shows a text once: runs of a sweep have the same data.
            warnings.warn(str(message["warning"]), stacklevel=caller_level())
            return
        worker = self._running.pop(index)
        self._free.append(worker.place)
        ending = worker.ending(message)
        if self.is_stopping and not message:  # the signal came before it could be saved
            ending = ending._replace(state="stopped")
        yield index, ending

    def stop(self) -> None:
        """Asks all workers to save and end; no other run starts."""
        self.is_stopping = True
        self._waiting.clear()
        for worker in self._running.values():
            worker.stop()

    def close(self) -> None:
        """Stops the workers that are left, and waits for them."""
        self.stop()
        for worker in self._running.values():
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
        """Starts both.

        Raises:
          OSError: the directory, the log or the process cannot be made.
        """
        self.place = place
        self._log = work.directory / layout.LOG
        self._index, self._messages = index, messages
        self._started = time.monotonic()
        work.directory.mkdir(parents=True, exist_ok=True)
        line = {
            "kind": work.kind,
            "trial": work.trial,
            "overrides": work.overrides,
            "directory": str(work.directory),
            "cores": shares.cores(place, num_workers),
            "platform": jax.default_backend(),
        }
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                _START,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=shares.environment(place, num_workers),
                start_new_session=True,  # Ctrl-C reaches this process alone
            )
        threading.Thread(target=self._read, name="worker", daemon=True).start()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: `_read` sees that
            self.process.stdin.write(f"{json.dumps(line)}\n".encode())
            self.process.stdin.flush()

    def _read(self) -> None:
        """Passes the messages of the process on, and its last one, or {}, at its end."""
        end: dict[str, Any] = {}
        assert self.process.stdout is not None
        try:
            with self.process.stdout:
                for line in self.process.stdout:
                    message = _message(line)
                    if "say" in message or "warning" in message:
                        self._messages.put((self._index, message))
                    elif message.get("state") in STATES:
                        end = message
        finally:
            self.process.wait()
            self._messages.put((self._index, end))

    def ending(self, message: dict[str, Any]) -> Ending:
        """How the run ended, by its last message; a process may end without one."""
        seconds = time.monotonic() - self._started
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # of a line that was never read
            self.process.stdin.close()
        if message:
            return Ending(**message, seconds=seconds)
        code = self.process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        reason = f"its process ended with {how}; see {self._log}"
        return Ending("failed", seconds, reason)

    def stop(self) -> None:
        """Asks the process to save and end."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)


def _message(line: bytes) -> dict[str, Any]:
    """The message of a line; {} if it was cut off, or another program wrote it."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
