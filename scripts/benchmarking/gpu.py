"""Measures the train step on this machine's accelerator, one figure a line.

    python scripts/benchmarking/gpu.py --out DIR --minutes 8 [--small] \
        [--only NAME,...] [--data_dir DIR] [--backbone DIR]

Every measurement is a process with a time limit. `DIR/measurements.jsonl` gets a line
for each figure as soon as it is measured, and the terminal one for people. Nothing is
downloaded. See README.md beside this file.
"""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import supervisor
from supervisor import Measurement

SHARED = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.45"}
"""Leaves memory for PyTorch: JAX takes three quarters of a device by default."""


def _torch(method: str, weight: int, *, compiled: bool = False) -> Measurement:
    """PyTorch's step of `method` in turns with ours."""
    return Measurement(
        f"torch-compile-{method}" if compiled else f"torch-{method}",
        "torch_speed",
        weight,
        options={"method": method, "compile": compiled},
        environment=SHARED,
    )


# The most valuable first, so that they get time before the others.
MEASUREMENTS = (
    Measurement(
        "prepare",
        "generated_inputs",
        weight=2,
        environment={"JAX_PLATFORMS": "cpu"},
    ),
    Measurement("device", "device_rates", weight=2),
    Measurement("mtra-128", "step_speed", weight=6, options={"method": "mtra"}),
    Measurement("ew-128", "step_speed", weight=4, options={"method": "ew"}),
    Measurement(
        "mtra-1024", "step_speed", weight=4, options={"method": "mtra", "scale": 8}
    ),
    Measurement(
        "ew-1024", "step_speed", weight=3, options={"method": "ew", "scale": 8}
    ),
    Measurement(
        "merged-128", "step_speed", weight=4, options={"method": "mtra", "merged": True}
    ),
    Measurement(
        "merged-1024",
        "step_speed",
        weight=4,
        options={"method": "mtra", "scale": 8, "merged": True},
    ),
    Measurement("mtra-128-again", "step_speed", weight=2, options={"method": "mtra"}),
    Measurement("start", "start_stages", weight=5, options={"method": "mtra"}),
    Measurement("kernels-mtra", "kernel_times", weight=2, options={"method": "mtra"}),
    _torch("mtra", weight=3),
    _torch("ew", weight=2),
    Measurement("methods", "method_speeds", weight=8),
    # Compiling may take minutes: the last ones get all the time that is left.
    _torch("mtra", weight=16, compiled=True),
    _torch("ew", weight=8, compiled=True),
)

# Switches of the step, each compared with the default; measured only if --only names them.
COMMAND_BUFFERS = "--xla_gpu_enable_command_buffer=+WHILE,+DYNAMIC_SLICE_FUSION"
SWITCHES = (
    *(
        Measurement(
            f"unroll-{n}", "step_speed", 2, options={"method": "mtra", "unroll": n}
        )
        for n in (1, 4)
    ),
    Measurement(
        "loop-in-graphs",
        "step_speed",
        2,
        options={"method": "mtra", "unroll": 1},
        environment={"XLA_FLAGS": COMMAND_BUFFERS},
    ),
    Measurement(
        "triton-products",
        "step_speed",
        2,
        options={"method": "mtra"},
        environment={"XLA_FLAGS": "--xla_gpu_enable_triton_gemm=true"},
    ),
)


class Parser(argparse.ArgumentParser):
    """Reports a wrong flag in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def main(arguments: Sequence[str]) -> int:
    flags = parse(arguments)
    directory = Path(flags.out)
    work = tempfile.mkdtemp(prefix="mtra-benchmark-")
    options = {
        "work": work,
        "out": str(directory.resolve()),
        "small": flags.small,
        "data_dir": absolute(flags.data_dir),
        "backbone": absolute(flags.backbone),
    }
    chosen = choose(flags.only)
    # SIGTERM becomes an exception, so children are killed and temporary files removed.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return supervisor.run(chosen, options, directory, 60 * flags.minutes)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="directory of the figures")
    parser.add_argument("--minutes", type=float, default=8, help="all of it together")
    parser.add_argument("--small", action="store_true", help="a tiny encoder, on a CPU")
    parser.add_argument("--only", help="measurements, as device,mtra-128")
    parser.add_argument("--data_dir", help="root of TweetEval; made-up texts if absent")
    parser.add_argument(
        "--backbone", help="directory of an encoder; random weights if absent"
    )
    flags = parser.parse_args(arguments)
    if not flags.minutes > 0:
        parser.error(f"--minutes is {flags.minutes}; expected more than 0")
    names = [measurement.name for measurement in (*MEASUREMENTS, *SWITCHES)]
    for name in (flags.only or names[0]).split(","):
        if name not in names:
            parser.error(f"--only {name}: unknown; expected of {', '.join(names)}")
    for flag in ("data_dir", "backbone"):
        path = getattr(flags, flag)
        if path and not Path(path).is_dir():
            parser.error(f"--{flag} {path}: expected a directory")
    try:
        Path(flags.out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {flags.out}: {error.strerror}; expected a directory")
    return flags


def absolute(path: str | None) -> str | None:
    return str(Path(path).resolve()) if path else None


def choose(only: str | None) -> list[Measurement]:
    """The measurements named by `only` and those they need; all for None."""
    if only is None:
        return list(MEASUREMENTS)
    names = {"prepare", *only.split(",")}
    if names == {"prepare", "device"}:
        names.remove("prepare")
    every = (*MEASUREMENTS, *SWITCHES)
    return [measurement for measurement in every if measurement.name in names]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
