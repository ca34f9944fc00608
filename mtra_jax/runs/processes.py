"""The processes of one run: joining, who writes, stopping together, leaving."""

import contextlib
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import jax
from jax.experimental import multihost_utils

from mtra_jax.runs import joining
from mtra_jax.train.devices import start_devices

HEARTBEAT_SECONDS = 60
"""After this time without a sign of life from one process the others end."""
GRACE_SECONDS = 5
"""That process 0 leaves the others after an error, to say what theirs is."""
BIND_ADDRESS = joining.BIND_ADDRESS

_joined = threading.Event()


def initialise(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: int = joining.TIMEOUT_SECONDS,
) -> None:
    """Joins the processes of a run; call before anything else touches a device.

    On TPU pods, SLURM and Open MPI JAX finds the three arguments; elsewhere
    `coordinator` is HOST:PORT of process 0. Given as an IP address it is all that process
    0 listens on, unless the environment has another `BIND_ADDRESS`. `timeout`: seconds.

    Raises:
      InputError: an argument is wrong or missing.
      RunError: another process did not come in time.
    """
    where = joining.check(coordinator, num_processes, process_id)
    joining.check_network(where, process_id, timeout)

    def join() -> None:
        jax.distributed.initialize(
            where.coordinator,
            num_processes,
            process_id,
            # Never reached: at its end the runtime aborts the process.
            initialization_timeout=timeout + 600,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            coordinator_bind_address=where.bind,
        )

    joining.wait_for(
        join,
        lambda: joining.missing(where.coordinator, num_processes, process_id),
        timeout,
    )
    _joined.set()


def leave(code: int) -> NoReturn:
    """Ends this process with an exit code; after a failure at once.

    Other processes may be lost (the end of process 0 ends them), and threads of Orbax
    may wait for ever for what failed. Wrong input, code 2, leaves nothing to wait for.
    """
    if code == 2 and not _joined.is_set():
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(Exception):  # its devices may be what failed
        if _joined.is_set() and is_writer():
            time.sleep(GRACE_SECONDS)
    os._exit(code)


def is_writer() -> bool:
    """Whether this process writes files."""
    start_devices()
    return jax.process_index() == 0


def own_signals() -> tuple[int, ...]:
    """The signals that this process answers itself; JAX has SIGTERM where there are more."""
    if jax.process_count() == 1:
        return (signal.SIGTERM, signal.SIGINT)
    return (signal.SIGINT,)


def stop_together(asked: Callable[[], bool]) -> Callable[[int | None], bool]:
    """`should_stop(step)` for `loop.Watch`: True at the same step in every process.

    One process stops where it was asked to, also in an evaluation (`step` None). Several
    are told of SIGTERM at any of them by JAX, which agrees on a step that none is beyond.
    """

    @functools.cache
    def tell_others() -> None:
        # JAX listens for SIGTERM alone.
        os.kill(os.getpid(), signal.SIGTERM)

    def should_stop(step: int | None) -> bool:
        if jax.process_count() == 1:
            return asked()
        if asked():
            tell_others()
        return step is not None and multihost_utils.reached_preemption_sync_point(step)

    return should_stop


def wait_for_all(place: str) -> None:
    """Goes on once every process has come to this `place`."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)
