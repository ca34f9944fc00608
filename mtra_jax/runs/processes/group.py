"""The processes of one run: how they join, write files, stop together and exit."""

import contextlib
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
from jax.experimental import multihost_utils

from mtra_jax.runs.processes import joining
from mtra_jax.train.devices import start_devices

HEARTBEAT_SECONDS = 60
"""The processes end if one of them sends no heartbeat for this time."""
GRACE_SECONDS = 5
"""How long process 0 waits after an error, so that the others can report theirs."""
WATCH_SECONDS = 1
"""Time between two checks whether another process has ended with an error."""

_ENDED = "mtra_jax/ended"
_joined = threading.Event()
_leaving = threading.Event()


def initialise(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: int = joining.TIMEOUT_SECONDS,
    local_device_ids: Sequence[int] | None = None,
) -> None:
    """Joins the processes of a run; call it before any use of a device.

    On TPU pods, SLURM and Open MPI, JAX detects the first three arguments. Elsewhere
    `coordinator` is HOST:PORT of process 0. If HOST is an IP address, process 0 listens
    on that address only, unless the environment sets `joining.BIND_ADDRESS`. `timeout`:
    seconds.
    `local_device_ids`: the GPUs of its host that this process uses; JAX's choice if None.

    Raises:
      InputError: an argument is wrong or missing.
      RunError: another process did not join in time.
    """
    where = joining.check(coordinator, num_processes, process_id)
    joining.check_network(where, process_id, timeout)

    # `joining` exempts the processes from the proxies that JAX would warn of.
    with contextlib.suppress(AttributeError):  # a version without the warning
        jax.config.update("jax_check_proxy_envs", False)

    def join() -> None:
        jax.distributed.initialize(
            where.coordinator,
            num_processes,
            process_id,
            # Longer than ours: at its end the runtime aborts the process.
            initialization_timeout=timeout + 600,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            coordinator_bind_address=where.bind,
            local_device_ids=local_device_ids,
        )

    joining.wait_for(
        join,
        lambda: joining.missing(where.coordinator, num_processes, process_id),
        timeout,
    )
    _joined.set()
    threading.Thread(target=_watch_the_others, name="watching", daemon=True).start()


def _client() -> Any:
    """The runtime's key-value store, which is private in JAX; None without it."""
    try:
        from jax._src import distributed
    except ImportError:
        return None
    return getattr(distributed.global_state, "client", None)


def _announce_end() -> None:
    """Tells the other processes that this one ends with an error."""
    with contextlib.suppress(Exception):  # process 0, which holds the keys, may be lost
        _client().key_value_set(_ENDED, str(jax.process_index()), allow_overwrite=True)


def _watch_the_others() -> None:
    """Ends this process once another has announced that it ends with an error.

    Otherwise it would wait in a collective until the runtime aborts it.
    """
    while not _leaving.wait(WATCH_SECONDS):
        try:
            process = _client().key_value_try_get(_ENDED)
        except Exception as error:  # of the runtime's own type
            if "NOT_FOUND" in str(error):
                continue
            return
        if _leaving.is_set():
            return
        os.write(
            2,
            f"error: process {process} of this run ended with an error; the same command "
            "in each of them continues\n".encode(),
        )
        os._exit(1)


def leave(code: int) -> NoReturn:
    """Ends this process with an exit code.

    After a failure it exits without cleaning up: other processes may be lost (they end
    with process 0), and threads of Orbax may wait for ever. Wrong input, code 2, ends
    with `sys.exit` unless processes have joined.
    """
    _leaving.set()
    if code == 2 and not _joined.is_set():
        sys.exit(code)
    if code and _joined.is_set():
        _announce_end()
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
    """The signals that this process handles; with several processes JAX handles SIGTERM."""
    if jax.process_count() == 1:
        return (signal.SIGTERM, signal.SIGINT)
    return (signal.SIGINT,)


def stop_together(asked: Callable[[], bool]) -> Callable[[int | None], bool]:
    """`should_stop(step)` for `interfaces.Watch`: True at the same step in every process.

    `asked`: whether this process received a signal. A single process stops at once, also
    in an evaluation (`step` None). With several processes, JAX forwards the SIGTERM of
    one to all, and picks a step that no process has passed.
    """

    @functools.cache
    def tell_others() -> None:
        # JAX listens for SIGTERM only.
        os.kill(os.getpid(), signal.SIGTERM)

    def should_stop(step: int | None) -> bool:
        if jax.process_count() == 1:
            return asked()
        if asked():
            tell_others()
        return step is not None and multihost_utils.reached_preemption_sync_point(step)

    return should_stop


def wait_for_all(place: str) -> None:
    """Returns once every process has called it with this `place`."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)
