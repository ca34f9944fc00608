"""A logger -> one that is called in a thread, so that a slow tracker delays no step."""

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

from mtra_jax.runs.loggers.contract import Logger, RunDescription

START_SECONDS = 60.0
CLOSE_SECONDS = 60.0
MOST_WAITING = 10_000
"""Calls that may wait for the thread; a tracker that is further behind has failed."""


class Background:
    """Calls `logger` in one thread, in order.

    A failure in the thread is raised by the next call. `start` and `close` wait for the
    thread, at most `START_SECONDS` and `CLOSE_SECONDS`; the others never wait.
    """

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._calls: queue.Queue[Callable[[], Any] | None] = queue.Queue(MOST_WAITING)
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._id = ""
        # A daemon: a tracker that hangs does not keep the process from its end.
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self, run: RunDescription) -> str:
        """As `Logger.start`.

        Raises:
          TimeoutError: the tracker does not answer in time.
        """

        def start() -> None:
            self._id = self._logger.start(run)
            self._started.set()

        self._put(start)
        self._thread.start()
        if not self._started.wait(START_SECONDS):
            raise TimeoutError(f"no answer within {START_SECONDS:.0f} s")
        self._check()
        return self._id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """As `Logger.log`."""
        self._put(lambda: self._logger.log(step, values))

    def flush(self) -> None:
        """Asks the thread to flush."""
        self._put(self._logger.flush)

    def close(self) -> None:
        """As `Logger.close`.

        Raises:
          TimeoutError: some figures are not sent in time.
        """
        self._put(self._logger.close)
        self._put(None)
        self._thread.join(CLOSE_SECONDS)
        self._check()
        if self._thread.is_alive():
            raise TimeoutError(
                f"some figures were not sent within {CLOSE_SECONDS:.0f} s"
            )

    def _put(self, call: Callable[[], Any] | None) -> None:
        self._check()
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            raise TimeoutError(f"{MOST_WAITING} calls behind") from None

    def _check(self) -> None:
        if self._failure is not None:
            raise RuntimeError(_described(self._failure)) from self._failure

    def _work(self) -> None:
        try:
            while (call := self._calls.get()) is not None:
                call()
        except BaseException as error:  # SystemExit too: clients ask to end the process
            self._failure = error
        finally:
            self._started.set()


def _described(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
