"""SIGTERM and SIGINT -> a flag that training reads, so that it saves before it ends."""

import contextlib
import os
import signal
import threading
import types
from collections.abc import Callable, Iterator, Sequence

AT_ONCE = "\ninterrupted; the same command continues\n"


class Requests:
    """The signal that requested the run to stop; 0 before one arrives."""

    def __init__(self) -> None:
        self.signal = 0

    def should_stop(self) -> bool:
        """Whether a signal has arrived."""
        return self.signal != 0


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

    def note(number: int, frame: object) -> None:
        del frame
        requests.signal = number

    before = {number: signal.signal(number, note) for number in numbers}
    try:
        with _ending_at_once():
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
def _ending_at_once() -> Iterator[None]:
    """Ends the process at a SIGINT that is not the first signal.

    A separate thread ends it: a handler would wait for the main thread, which may be in a
    compiler, and an exception would wait for the checkpoint that is being written.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen() -> None:
        with os.fdopen(reader, "rb", buffering=0) as numbers:
            numbers.read(1)
            while number := numbers.read(1):
                if number[0] == signal.SIGINT:
                    with contextlib.suppress(OSError):  # standard error is closed
                        os.write(2, AT_ONCE.encode())
                    os._exit(128 + signal.SIGINT)

    threading.Thread(target=listen, name="signals", daemon=True).start()
    before = signal.set_wakeup_fd(writer)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)
