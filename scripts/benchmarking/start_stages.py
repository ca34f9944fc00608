"""A command -> seconds from its start to the first step, with a cold and a warm cache."""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import start_probe
import supervisor
import workload_files

BEFORE = "parameters, batches"
"""The last stage before the tracing of the step."""


def measure(options: dict[str, Any], emit: Any) -> None:
    for name in ("cold", "warm"):
        run(options, name, emit)


def run(options: dict[str, Any], name: str, emit: Any) -> None:
    """Runs `scripts/train.py` to its first step; both runs share a cache, empty at first.

    Raises:
      RuntimeError: the script ended before its first step.
    """
    work = Path(options["work"])
    values = dict(workload_files.overrides(options, options["method"]))
    values["data.cache_dir"] = str(work / "start-cache")
    script = f"{options['root']}/scripts/train.py"
    command = [
        *(sys.executable, start_probe.__file__, script),
        f"--config={options['root']}/{workload_files.PRESET}",
        f"--workdir={work / f'start-{name}'}",
        *(f"--config.{key}={value}" for key, value in values.items()),
    ]
    environment = {**os.environ, start_probe.STARTED: repr(time.time())}
    ends: dict[str, float] = {}
    last: dict[str, Any] = {}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        env=environment,
        preexec_fn=supervisor.die_with_parent,
    ) as process:
        for line in process.stdout:
            last = json.loads(line)
            ends[last["stage"]] = last["seconds"]
            if last["stage"] == BEFORE:
                text = f"{last['seconds']:.1f} s: {_parts(ends)}"
                emit(f"{name}, until program", text, stages=ends)
    if "first step" not in ends:
        raise RuntimeError(f"{script}: ended with {process.returncode} and no step")
    source = "reading" if last["num_read"] else "compiling"
    seconds = last["read_seconds" if last["num_read"] else "compile_seconds"]
    emit(
        f"{name}, first step",
        f"{ends['first step']:.1f} s: {_parts(ends)}; within the program: trace "
        f"{last['trace_seconds']:.1f}, lowering {last['lower_seconds']:.1f}, {source} "
        f"{seconds:.1f}",
        **{**last, "stages": ends},
    )


def _parts(ends: dict[str, float]) -> str:
    """The duration of each stage, from the ends of all of them in their order."""
    names, seconds = list(ends), [0.0, *ends.values()]
    durations = [late - early for early, late in itertools.pairwise(seconds)]
    pairs = zip(names, durations, strict=True)
    return ", ".join(f"{name} {duration:.1f}" for name, duration in pairs)
