"""XLA's flags of the tests and of the processes that they start: quick to compile."""

import os
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Tests compile much and compute little. XLA ends the process at a flag that it does not
# know, therefore the last two, which save half of the rest, are for one version.
QUICK = "--xla_backend_optimization_level=0" + (
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    if metadata.version("jaxlib").startswith("0.10.")
    else ""
)


def quick(devices: int) -> str:
    """The value of XLA_FLAGS for a number of virtual CPU devices."""
    return f"--xla_force_host_platform_device_count={devices} {QUICK}"


def environment(devices: int = 1) -> dict[str, str]:
    """The variables of a process that imports this package and has `devices` devices."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": quick(devices)}
