"""SIGTERM and SIGINT -> a flag that training asks for, so that it saves before it ends."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence


class Requests:
    """Which signal asked the run to stop; 0 while none has."""

    def __init__(self) -> None:
        self.signal = 0

    def should_stop(self) -> bool:
        """Whether a signal has come."""
        return self.signal != 0


@contextlib.contextmanager
def caught(
    numbers: Sequence[int] = (signal.SIGTERM, signal.SIGINT),
) -> Iterator[Requests]:
    """Notes the signals while it is open; a second SIGINT interrupts at once.

    Elsewhere than in the main thread, where Python sets no handlers, it notes nothing.
    """
    requests = Requests()
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return

    def note(number: int, frame: object) -> None:
        del frame
        if number == signal.SIGINT and requests.signal:
            raise KeyboardInterrupt
        requests.signal = number

    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
