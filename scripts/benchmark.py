"""Measures how fast a configuration trains on this machine, and where the time goes.

    python scripts/benchmark.py --config configs/mtra.py:minilm_tweeteval \
        [--config.data.dir=data] [--method ew,mtra] [--against torch] [--trace DIR] [--json]
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mtra_jax import cli
from mtra_jax.errors import InputError

# The modules of that directory import each other by plain names.
sys.path.append(str(Path(__file__).resolve().parent / "benchmarking"))

NUMBERS = "a comma-separated list of numbers"


def main(arguments: Sequence[str]) -> None:
    parser = cli.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30, help="steps that are timed")
    parser.add_argument("--method", help="methods to compare, as ew,mtra")
    parser.add_argument("--against", choices=["torch"], help="PyTorch's step in turns")
    parser.add_argument("--compile", action="store_true", help="with torch.compile")
    parser.add_argument("--packed", action="store_true", help="PyTorch packs as we do")
    parser.add_argument(
        "--threads", type=int, help="CPU threads of PyTorch; its default if absent"
    )
    parser.add_argument("--trace", metavar="DIR", help="where a profile is written")
    parser.add_argument(
        "--devices", type=numbers, help="collectives on 1,2,4,8 devices"
    )
    parser.add_argument("--tasks", type=numbers, help="step time with 2,8,32,128 tasks")
    parser.add_argument("--layers", type=numbers, help="compile time of 6,12,24 layers")
    parser.add_argument(
        "--programs",
        type=numbers,
        metavar="1,2,4,12",
        help="size and compile time of the step, by layers per iteration of its loop",
    )
    parser.add_argument(
        "--unroll", type=int, help="layers per iteration of the encoder's loop"
    )
    parser.add_argument(
        "--host", action="store_true", help="speed of planning and packing on the host"
    )
    parser.add_argument(
        "--alone", choices=["ours", "torch"], help="run only the steps of one side"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags, config = cli.with_config(parser, arguments)
    if flags.steps < 1:
        raise InputError(f"--steps is {flags.steps}; expected at least 1")
    if flags.unroll is not None and flags.unroll < 1:
        raise InputError(f"--unroll is {flags.unroll}; expected at least 1")
    if flags.alone:
        alone(flags, config)
        return
    if flags.devices:
        use_devices(max(flags.devices))
    import figure_lines

    figures = {}
    for name, value in measure(flags, config, arguments):
        figures[name] = value
        if not flags.json:
            print(figure_lines.text({name: value}), flush=True)
    if flags.json:
        print(json.dumps(figure_lines.plain(figures), allow_nan=False))


def numbers(text: str) -> list[int]:
    """The list of numbers, each at least 1, in text such as `1,2,4`."""
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or min(values) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not {NUMBERS}")
    return values


def machine() -> dict[str, object]:
    from mtra_jax.runs.directory import metrics_log
    from mtra_jax.train.devices import choose_devices

    return metrics_log.environment(choose_devices(0))


def alone(flags, config) -> None:
    """Runs our steps or PyTorch's in this process; `run_costs.alone` reads the output."""
    import host_costs
    import run_costs
    import workload

    print(run_costs.LIBRARIES, flush=True)
    loaded = workload.load(config, flags.steps, flags.unroll)
    items = loaded.items[: flags.steps]  # there may be more: one per task at least
    if flags.alone == "ours":  # PyTorch is not imported then
        step = workload.stepper_of(loaded.prepared)
        print(run_costs.DATA, flush=True)
        step.compiled(items[0].batch)
    else:
        import versus_torch

        trainer = versus_torch.torch_trainer(loaded, **torch_options(flags))
        print(run_costs.DATA, flush=True)

        def step(item):
            trainer.step(trainer.place(item.batch))

    print(run_costs.PROGRAM, flush=True)
    for number, item in enumerate(items):
        step(item)
        if number == 0:
            print(run_costs.FIRST_STEP, flush=True)
    print(run_costs.PEAK, host_costs.peak_bytes(), flush=True)


def torch_options(flags) -> dict[str, object]:
    return {
        "compile_model": flags.compile,
        "packed": flags.packed,
        "threads": flags.threads,
    }


def measure(flags, config, arguments: Sequence[str]) -> Iterator[tuple[str, object]]:
    """Yields the machine, then each requested figure as soon as it is measured.

    Without a flag that requests one: the figures of the step and of the run around it.
    """
    import program_costs
    import run_costs
    import scaling
    import speeds
    import versus_torch
    import workload

    check(flags, config)
    others = ["devices", "tasks", "layers", "programs", "host", "against", "method"]
    others.append("trace")
    is_plain = not any(getattr(flags, name) for name in others)
    if is_plain:
        # First, while this process is small and has not taken memory of a device.
        command = alone_command(arguments, "ours", 1)
        yield "starts", run_costs.starts(command)
    yield "machine", machine()
    if flags.devices:
        yield "collectives", speeds.collectives(config, flags.devices)
    elif flags.tasks:
        yield "tasks", scaling.tasks(flags.tasks)
    elif flags.layers:
        yield "layers", scaling.layers(flags.layers)
    elif flags.programs:
        yield "programs", program_costs.programs(flags.programs)
    elif flags.host:
        yield from of_the_host()
    elif flags.against:
        loaded = workload.load(config, flags.steps, flags.unroll)
        yield "versus", versus_torch.versus_torch(loaded, **torch_options(flags))
        # Memory of the host matters only if the host computes.
        if loaded.prepared.devices[0].platform == "cpu":
            yield "resident", resident(arguments)
    else:
        yield from of_the_step(flags, config)


def check(flags, config) -> None:
    """Refuses invalid flags before anything is measured."""
    import speeds

    if flags.tasks and max(flags.tasks) > 128:
        raise InputError(f"--tasks {max(flags.tasks)}: expected at most 128")
    for name in flags.method.split(",") if flags.method else ():
        speeds.with_method(config, name)


def of_the_host() -> Iterator[tuple[str, object]]:
    import host_costs

    yield "throughput", host_costs.throughput()
    with tempfile.TemporaryDirectory() as directory:
        yield "footprint", host_costs.ten_million(directory=Path(directory))


def of_the_step(flags, config) -> Iterator[tuple[str, object]]:
    import run_costs
    import speeds
    import workload

    names = flags.method.split(",") if flags.method else [config.method.name]
    loads = [
        workload.load(speeds.with_method(config, name), flags.steps, flags.unroll)
        for name in names
    ]
    figures, steppers = speeds.speeds(loads)
    if flags.trace:
        yield "trace", trace(Path(flags.trace), loads[0], steppers[0])
    elif flags.method:
        yield "methods", figures
    else:
        yield "speed", figures[0]
        yield "feeding", run_costs.feeding(loads[0], steppers[0])
        yield "saving", run_costs.saving(steppers[0])


def resident(arguments: Sequence[str], num_steps: int = 6) -> tuple:
    """Peak memory of a process that runs our steps, and of one that runs PyTorch's."""
    import run_costs
    import versus_torch

    peaks = [
        run_costs.alone(alone_command(arguments, side, num_steps)).peak_bytes
        for side in ("ours", "torch")
    ]
    return versus_torch.Resident(*peaks, num_steps)


def alone_command(arguments: Sequence[str], side: str, num_steps: int) -> list[str]:
    # Later flags override earlier ones.
    flags = [f"--alone={side}", f"--steps={num_steps}"]
    return [sys.executable, __file__, *arguments, *flags]


def trace(directory: Path, loaded, stepper) -> dict[str, float]:
    import step_trace

    item = loaded.items[0]
    program = stepper.compiled(item.batch).as_text()
    path = step_trace.record(directory, [lambda: stepper(item)] * 3)
    return step_trace.by_part(step_trace.seconds_by_instruction(path), program)


def use_devices(count: int) -> None:
    """Sets the number of virtual devices on a CPU; call it before JAX starts them."""
    import jax

    if os.environ.get("JAX_PLATFORMS", "cpu") == "cpu":
        jax.config.update("jax_num_cpu_devices", count)


if __name__ == "__main__":
    cli.run(main)
