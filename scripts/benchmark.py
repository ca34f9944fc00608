"""Measures how fast a configuration trains on this machine, and where the time goes.

    python scripts/benchmark.py --config configs/mtra.py:minilm_tweeteval \
        [--config.data.dir=data] [--method ew,mtra] [--against torch] [--trace DIR] [--json]
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mtra_jax import cli
from mtra_jax.errors import InputError

NUMBERS = "a comma-separated list of numbers"


def main(arguments: Sequence[str]) -> None:
    parser = cli.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30, help="steps that are timed")
    parser.add_argument("--method", help="methods to compare, as ew,mtra")
    parser.add_argument("--against", choices=["torch"], help="PyTorch's step in turns")
    parser.add_argument("--compile", action="store_true", help="with torch.compile")
    parser.add_argument("--packed", action="store_true", help="PyTorch packs as we do")
    parser.add_argument(
        "--threads", type=int, help="of PyTorch; its own choice if absent"
    )
    parser.add_argument("--trace", metavar="DIR", help="where a profile is written")
    parser.add_argument(
        "--devices", type=numbers, help="collectives on 1,2,4,8 devices"
    )
    parser.add_argument("--tasks", type=numbers, help="step time with 2,8,32,128 tasks")
    parser.add_argument("--layers", type=numbers, help="compile time of 6,12,24 layers")
    parser.add_argument(
        "--host", action="store_true", help="texts a second of the host"
    )
    parser.add_argument(
        "--one_step", action="store_true", help="take a step and say so"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags, config = cli.with_config(parser, arguments)
    if flags.steps < 1:
        raise InputError(f"--steps is {flags.steps}; expected at least 1")
    if flags.one_step:
        one_step(config)
        return
    from mtra_jax.benchmark import lines

    found = {"machine": machine(), **measure(flags, config, arguments)}
    if flags.json:
        print(json.dumps(lines.plain(found), allow_nan=False))
    else:
        print(lines.text(found))


def numbers(text: str) -> list[int]:
    """`1,2,4` as a list; each at least 1."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not {NUMBERS}")
    return found


def machine() -> dict[str, object]:
    from mtra_jax.train import parallel, records

    return records.environment(parallel.choose_devices(0))


def one_step(config) -> None:
    from mtra_jax.benchmark import workload

    found = workload.load(config, 1)
    workload.Stepper(found.prepared)(found.items[0])
    print("first step", flush=True)


def measure(flags, config, arguments: Sequence[str]) -> dict[str, object]:
    """What the flags ask for; the step's own figures where they ask for nothing else."""
    from mtra_jax.benchmark import host, measure, scaling, workload

    if flags.devices:
        use_devices(max(flags.devices))
        return {"collectives": measure.collectives(config, flags.devices)}
    if flags.tasks:
        if max(flags.tasks) > 128:
            raise InputError(f"--tasks {max(flags.tasks)}: expected at most 128")
        return {"tasks": scaling.tasks(flags.tasks)}
    if flags.layers:
        return {"layers": scaling.layers(flags.layers)}
    if flags.host:
        with tempfile.TemporaryDirectory() as directory:
            footprint = host.ten_million(directory=Path(directory))
        return {"throughput": host.throughput(), "footprint": footprint}
    if flags.against:
        found = workload.load(config, flags.steps)
        options = {"compile_model": flags.compile, "packed": flags.packed}
        return {"versus": measure.versus_torch(found, threads=flags.threads, **options)}
    names = flags.method.split(",") if flags.method else [config.method.name]
    loads = [
        workload.load(measure.with_method(config, name), flags.steps) for name in names
    ]
    speeds, steppers = measure.speeds(loads)
    if flags.trace:
        return {"trace": trace(Path(flags.trace), loads[0], steppers[0])}
    if flags.method:
        return {"methods": speeds}
    return {"speed": speeds[0], **around(loads[0], steppers[0], arguments)}


def around(found, stepper, arguments: Sequence[str]) -> dict[str, object]:
    """Starting, feeding, saving."""
    from mtra_jax.benchmark import run_costs

    rest = [a for a in arguments if a != "--json"]
    command = [sys.executable, __file__, *rest, "--one_step"]
    return {
        "feeding": run_costs.feeding(found, stepper),
        "saving": run_costs.saving(stepper),
        "starts": run_costs.starts(command),
    }


def trace(directory: Path, found, stepper) -> dict[str, float]:
    from mtra_jax.benchmark import trace

    item = found.items[0]
    program = stepper.compiled(item).as_text()
    path = trace.record(directory, [lambda: stepper(item)] * 3)
    return trace.by_part(trace.seconds_by_instruction(path), program)


def use_devices(count: int) -> None:
    """Virtual devices, where there is but a CPU; before JAX looks for any."""
    import jax

    if os.environ.get("JAX_PLATFORMS", "cpu") == "cpu":
        jax.config.update("jax_num_cpu_devices", count)


if __name__ == "__main__":
    cli.run(main)
