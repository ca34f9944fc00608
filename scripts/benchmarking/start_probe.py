"""Runs `scripts/train.py` to its first step, and prints the end of each stage.

Started by `start_stages.py`, with the script and its arguments. The lines are JSON, with
seconds since the time in the environment's `PROBE_STARTED`.
"""

import functools
import json
import os
import sys
import time
from typing import Any

STARTED = "PROBE_STARTED"


def main(script: str, arguments: list[str]) -> None:
    lines = os.dup(1)
    os.dup2(2, 1)
    started = float(os.environ[STARTED])

    def mark(stage: str, **values: Any) -> None:
        line = {"stage": stage, "seconds": time.time() - started, **values}
        os.write(lines, json.dumps(line).encode() + b"\n")

    from mtra_jax import cli
    from mtra_jax.commands import train
    from mtra_jax.runs.processes import signals
    from mtra_jax.runs.training import display
    from mtra_jax.runs.training import run as training  # as the script does in `main`

    del display, signals, training
    mark("libraries")
    watch(mark)
    sys.argv = [script, *arguments]
    cli.run(train.main, output_is_product=False)


def watch(mark: Any) -> None:
    """Marks the end of each stage of `scripts/train.py`, which must be imported."""
    import compile_events
    import jax

    from mtra_jax.data import benchmarks
    from mtra_jax.runs.training import inputs, preparation
    from mtra_jax.train.devices import Program

    mark_first(preparation, "choose_devices", mark, "device")
    mark_first(benchmarks, "read_examples", mark, "texts")
    mark_first(inputs, "load_backbone", mark, "encoder")
    mark_first(benchmarks, "build_corpora", mark, "tokens")
    mark_first(preparation, "prepare", mark, "parameters, batches")
    events = compile_events.Events()
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: events.note(event, seconds)
    )
    call = Program.__call__

    def first_step(program: Any, *arguments: Any) -> None:
        result = call(program, *arguments)
        mark("program")
        jax.block_until_ready(result)
        mark("first step", **events.values())
        os._exit(0)

    Program.__call__ = first_step


def mark_first(module: Any, name: str, mark: Any, stage: str) -> None:
    """Marks `stage` when `module.name` has returned for the first time."""
    function = getattr(module, name)

    @functools.wraps(function)
    def marked(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        if getattr(module, name) is marked:
            setattr(module, name, function)
            mark(stage)
        return result

    setattr(module, name, marked)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
