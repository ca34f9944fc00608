"""The signals of a command that trains -> `should_stop`, and the end of a stopped run."""

import contextlib
from collections.abc import Callable, Iterator

from mtra_jax import cli


@contextlib.contextmanager
def stopping() -> Iterator[Callable[[int | None], bool]]:
    """Yields `should_stop(step)`, which SIGTERM and SIGINT make true, in every process.

    If its body raises `loop.Stopped`, the command ends with a line and the signal's code.
    """
    from mtra_jax.runs.processes import group, signals
    from mtra_jax.runs.training import loop

    with signals.caught(group.own_signals()) as requests:
        try:
            yield group.stop_together(requests.should_stop)
        except loop.Stopped as stopped:
            cli.stop(f"{stopped}, saved; the same command continues", requests.signal)
