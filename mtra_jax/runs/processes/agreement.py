"""Values and devices of each process -> whether the processes of a run fit together."""

import json
import platform
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from mtra_jax import files
from mtra_jax.errors import InputError, shown
from mtra_jax.train.devices import count_local


def check_same(
    what: str, values: Mapping[str, Any], free: Collection[str] = ()
) -> None:
    """Compares `values` of every process with those of process 0.

    Every process must call it. `values` can be written as JSON; `what` names them in the
    message. `free`: dotted keys that may differ. If one process differs, all raise the
    error: otherwise the rest would wait for it in a collective.

    Raises:
      InputError: the values of a process differ; in that process the message names the
        key.
    """
    if jax.process_count() == 1:
        return
    # As text: NaN is not equal to itself, and JSON has no tuples.
    flat = files.flatten(values)
    own = {key: json.dumps(flat[key]) for key in flat if key not in free}
    expected = json.loads(_from_process_0(json.dumps(own)))
    keys = [*expected, *(key for key in own if key not in expected)]
    different = [k for k in keys if own.get(k) != expected.get(k)]
    flags = multihost_utils.process_allgather(np.int32(bool(different)))
    others = [str(process) for process in np.flatnonzero(flags)]
    advice = "expected every process to run the same command on the same files"
    if different:
        key = different[0]
        here, there = (
            shown(json.loads(side[key])) if key in side else "absent"
            for side in (own, expected)
        )
        raise InputError(f"{what} {key}: {here} here, {there} in process 0; {advice}")
    if others:
        raise InputError(
            f"{what}: process {', '.join(others)} differs from process 0; {advice}"
        )


def _from_process_0(text: str) -> str:
    """Returns the `text` of process 0; texts may differ in length between processes."""
    content = np.frombuffer(text.encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(content.size)))
    padded = np.zeros(size, np.uint8)
    padded[: content.size] = content[:size]
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))).decode()


def devices_in_use() -> tuple[str, str | None]:
    """A line about the devices of this run, and a warning if some stay idle.

    Every process must call it. The line reads "8 of 8 visible devices on 2 hosts".
    """
    table = np.array([[_number(platform.node()), *count_local()]], np.int32)
    if jax.process_count() > 1:
        table = multihost_utils.process_allgather(table[0])
    return describe_devices(table)


def describe_devices(table: np.ndarray) -> tuple[str, str | None]:
    """The line and the warning of `devices_in_use`.

    `table`: int [N, 3], one row for each of N processes: a number that identifies its
    host, its devices, and the devices that are visible on its host.

    >>> describe_devices(np.array([[5, 1, 8], [7, 1, 8]]))[0]
    '2 of 16 visible devices on 2 hosts'
    """
    in_use, visible = 0, 0
    hosts = np.unique(table[:, 0])
    for host in hosts:
        rows = table[table[:, 0] == host]
        used = int(rows[:, 1].sum())
        in_use += used
        # With `--gpus-per-task=1` each process sees one device, all under the same name.
        visible += max(used, int(rows[:, 2].max()))
    on = f"{len(hosts)} host{'s' if len(hosts) > 1 else ''}"
    line = f"{in_use} of {visible} visible device{'s' if visible > 1 else ''} on {on}"
    if in_use == visible:
        return line, None
    return line, (
        f"{line}: the others stay idle; expected one process for each device "
        "(srun --ntasks-per-node), or --local_device_ids=0,1,... with one for each host"
    )


def _number(text: str) -> int:
    return zlib.crc32(text.encode()) & 0x7FFFFFFF
