"""Command-line flags -> the arguments of `group.initialise`."""

import argparse
from typing import NamedTuple

from mtra_jax.errors import InputError
from mtra_jax.runs.processes import joining


class Arguments(NamedTuple):
    """The arguments of `group.initialise`, by the same names."""

    coordinator: str | None
    num_processes: int | None
    process_id: int | None
    timeout: int
    local_device_ids: list[int] | None


def add(parser: argparse.ArgumentParser) -> None:
    """Adds `--distributed` and the flags that need it."""
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="join the other processes of a pod or cluster, each running this command",
    )
    parser.add_argument("--coordinator", help="HOST:PORT of process 0, if not detected")
    parser.add_argument(
        "--num_processes", type=int, help="their number, if not detected"
    )
    parser.add_argument(
        "--process_id", type=int, help="the number of this one, if not detected"
    )
    parser.add_argument(
        "--local_device_ids",
        metavar="N,...",
        help="GPUs of its host that this process uses, if not detected",
    )
    parser.add_argument(
        "--initialization_timeout",
        type=int,
        metavar="SECONDS",
        help=f"longest wait for the other processes; {joining.TIMEOUT_SECONDS} if not "
        "given",
    )


def read(flags: argparse.Namespace) -> Arguments | None:
    """Reads the flags of `add`; None without `--distributed`.

    Raises:
      InputError: a flag needs `--distributed`, or has a wrong value.
    """
    given = {
        "coordinator": flags.coordinator,
        "num_processes": flags.num_processes,
        "process_id": flags.process_id,
        "local_device_ids": flags.local_device_ids,
        "initialization_timeout": flags.initialization_timeout,
    }
    for name, value in given.items():
        if value is not None and not flags.distributed:
            raise InputError(f"--{name}: expected with --distributed only")
    seconds = flags.initialization_timeout
    if seconds is not None and seconds < 1:
        raise InputError(f"--initialization_timeout is {seconds}; expected at least 1")
    if not flags.distributed:
        return None
    return Arguments(
        flags.coordinator,
        flags.num_processes,
        flags.process_id,
        seconds or joining.TIMEOUT_SECONDS,
        device_ids(flags.local_device_ids),
    )


def device_ids(text: str | None) -> list[int] | None:
    """The numbers of devices in a list such as "0,1,2"; None for None.

    Raises:
      InputError: `text` is not such a list.

    >>> device_ids("0,1,2")
    [0, 1, 2]
    """
    if text is None:
        return None
    numbers = text.split(",")
    if not all(number.isdecimal() and len(number) < 5 for number in numbers):
        raise InputError(f"--local_device_ids is {text}; expected numbers, as 0,1,2")
    return [int(number) for number in numbers]
