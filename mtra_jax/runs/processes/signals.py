"""SIGTERM and SIGINT -> a flag that training reads, so that it saves before it ends."""

import contextlib
import os
import signal
import threading
import types
from collections.abc import Callable, Iterator, Sequence

FIRST = (
    "\nstopping after the current step (a compilation may take minutes), then saving"
)
AGAIN = "; Ctrl-C again ends without saving"
AT_ONCE = (
    "\nended without saving; the same command continues from the last checkpoint\n"
)


class Requests:
    """The signal that requested the run to stop; 0 before one arrives."""

    def __init__(self) -> None:
        self._signal = 0
        self._is_acknowledged = False
        # Reentrant: a second signal may interrupt the handler of the first.
        self._lock = threading.RLock()

    @property
    def signal(self) -> int:
        """The number of the last signal; setting it acknowledges the first one."""
        return self._signal

    @signal.setter
    def signal(self, number: int) -> None:
        self._signal = number
        self.acknowledge(number)

    def should_stop(self) -> bool:
        """Whether a signal has arrived."""
        return self._signal != 0

    def acknowledge(self, number: int) -> None:
        """Reports the first signal on standard error; any thread may call it."""
        with self._lock:
            if not self._is_acknowledged:
                self._is_acknowledged = True
                _write(FIRST + (AGAIN if number == signal.SIGINT else "") + "\n")


@contextlib.contextmanager
def caught(
    numbers: Sequence[int] = (signal.SIGTERM, signal.SIGINT),
) -> Iterator[Requests]:
    """Records the signals in its body; a second SIGINT ends the process, code 130.

    Outside the main thread it records nothing: Python sets handlers only there.
    """
    requests = Requests()
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return

    def note(number: int, frame: types.FrameType | None) -> None:
        del frame
        requests.signal = number

    before = {number: signal.signal(number, note) for number in numbers}
    try:
        with listening(requests.acknowledge):
            yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interrupts(can_wait: Callable[[], bool]) -> Iterator[Requests]:
    """For calls from Python: records the first SIGINT of its body while `can_wait()`.

    Any other one raises KeyboardInterrupt at once, as without this function. Python loses
    that exception within a callback of its garbage collector, and JAX has one; a recorded
    signal is not lost. Outside the main thread, and where the caller has replaced Python's
    handler, nothing changes.
    """
    requests, own = Requests(), signal.default_int_handler
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not own:
        yield requests
        return

    def note(number: int, frame: types.FrameType | None) -> None:
        if requests.should_stop() or not can_wait():
            own(number, frame)
        requests.signal = number

    signal.signal(signal.SIGINT, note)
    try:
        yield requests
    finally:
        signal.signal(signal.SIGINT, own)


@contextlib.contextmanager
def listening(acknowledge: Callable[[int], None]) -> Iterator[None]:
    """Acknowledges the first signal; a SIGINT that is not the first ends the process.

    A separate thread does both: a handler would wait for the main thread, which may be in a
    compiler, and an exception would wait for the checkpoint that is being written.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen() -> None:
        with os.fdopen(reader, "rb", buffering=0) as numbers:
            if first := numbers.read(1):
                acknowledge(first[0])
            while number := numbers.read(1):
                if number[0] == signal.SIGINT:
                    _write(AT_ONCE)
                    os._exit(128 + signal.SIGINT)

    threading.Thread(target=listen, name="signals", daemon=True).start()
    before = signal.set_wakeup_fd(writer)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)


def _write(text: str) -> None:
    """Writes to standard error, whose Python object a handler may have interrupted."""
    with contextlib.suppress(OSError):  # standard error is closed
        os.write(2, text.encode())
