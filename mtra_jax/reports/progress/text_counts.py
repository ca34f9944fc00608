"""Numbers of labelled texts -> a bar on a terminal, or short lines in a log."""

import contextlib
import time
from collections.abc import Callable, Iterator

import tqdm

from mtra_jax.reports.progress import bars


@contextlib.contextmanager
def shown(*, is_quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yields `count(n)`, to be called after each n texts; with `is_quiet` it does nothing.

    A log gets a line at most every `bars.LINE_SECONDS`, and none for a short input.
    """
    if is_quiet:
        yield lambda number: None
    elif not bars.has_terminal():
        yield _lines()
    else:
        # Delayed and then removed, so that it does not stand beside an error message.
        with tqdm.tqdm(unit=" texts", delay=1, leave=False) as bar:
            yield lambda number: _update(bar, number)


def _update(bar: tqdm.tqdm, number: int) -> None:
    bar.update(number)


def _lines() -> Callable[[int], None]:
    total, written = 0, time.monotonic()

    def count(number: int) -> None:
        nonlocal total, written
        total += number
        if time.monotonic() - written >= bars.LINE_SECONDS:
            bars.write_log_line(f"texts labelled: {total}")
            written = time.monotonic()

    return count
