"""Runs a script with faults planted at functions of the package.

    python tests/runs/fault.py '[["mtra_jax.runs.training.results:finish", 1, "signal", 15]]' \
        scripts/train.py --workdir=...

Each fault is [function, number of the call, kind, value]. It acts before that call, or on
its result.
"""

import contextlib
import functools
import importlib
import json
import math
import os
import resource
import runpy
import shutil
import sys
import time


def fill(where):
    """Fills the disk with a file, except for `room` bytes."""
    path, room = where
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    os.truncate(path, os.path.getsize(path) - room)


def fail(reason):
    """Raises an error that nothing in the package expects."""
    raise LookupError(reason)


WHAT = {
    "raise": fail,
    "signal": lambda number: os.kill(os.getpid(), number),
    # SIGXFSZ, which the system sends as well, is ignored by Python.
    "largest file": lambda size: resource.setrlimit(
        resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)
    ),
    "fill": fill,
    "remove": shutil.rmtree,
    "hang": time.sleep,
}


def poison(packed, indices):
    """Sets a target of some batches to NaN, on the last device."""
    for index, batch in enumerate(packed):
        if index in indices:
            batch.targets[-1, 0] = math.nan
        yield batch


# Kinds that change the result of the call.
AFTER = {"not finite": poison}


def plant(place, call, what, value):
    """Wraps the function at `place`, MODULE:NAME or MODULE:CLASS.NAME."""
    module, _, names = place.partition(":")
    owner = importlib.import_module(module)
    *parents, name = names.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    function, calls = getattr(owner, name), iter(range(1, 1 << 30))

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        is_due = next(calls) == call
        if is_due and what in WHAT:
            WHAT[what](value)
        result = function(*args, **kwargs)
        return AFTER[what](result, value) if is_due and what in AFTER else result

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    faults, script, *flags = sys.argv[1:]
    # The fault that is planted last acts first.
    for fault in reversed(json.loads(faults)):
        plant(*fault)
    sys.argv = [script, *flags]
    runpy.run_path(script, run_name="__main__")
