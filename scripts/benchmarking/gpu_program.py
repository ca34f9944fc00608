"""Compiles the train step for an H100 on a machine without one: its kernels and memory.

    pip install 'jax[cuda13]'
    python scripts/benchmarking/gpu_program.py [--texts 128] [--merged] [--out FILE]

Nothing is timed. XLA compiles for a described device, without tuning on it; the kernels
are counted, and the bytes that they read and write in global memory, see
`program_traffic`. `--out` keeps the compiled program.
"""

import argparse
import functools
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
import program_costs
import program_traffic
import scaling
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mtra_jax import files
from mtra_jax.reports.formatting import tables
from mtra_jax.train.devices import start_devices

# The numbers of openxla/xla, pull request 25919, with the versions of jax 0.11.2.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84929347584
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 13 minor: 0 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
COPY = 2.9e12
"""Bytes a second of a large copy on an H100, as `gpu.py` measured it."""


def compiled(num_texts: int, merged: bool, dtype: Any = jnp.bfloat16) -> Any:
    """MTRA's step of RoBERTa-base for one task's batch, compiled for an H100."""
    start_devices()  # sets XLA's flags for GPUs, as in training
    config = program_costs.ROBERTA_BASE
    packed = scaling.batches_of(
        [program_costs.NUM_TASKS], config, 4 * num_texts, num_texts, seed=0
    )
    update, new_state = scaling.step_of(
        program_costs.NUM_TASKS, config, num_texts, dtype, one_task=True, merged=merged
    )
    device = topologies.get_topology_desc(
        platform="cuda", target_config=H100, topology="1x1x1"
    )
    mesh = Mesh(np.array(device.devices), ("data",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    shape_of = functools.partial(jax.ShapeDtypeStruct, sharding=everywhere)
    batch = packed[program_costs.NUM_TASKS][0]
    arguments = (
        jax.tree.map(lambda x: shape_of(x.shape, x.dtype), jax.eval_shape(new_state)),
        jax.tree.map(lambda x: shape_of(x.shape[1:], x.dtype), batch),
    )
    return jax.jit(update, donate_argnums=0).lower(*arguments).compile()


def report(kernels: list[program_traffic.Kernel]) -> str:
    """The kernels by kind and by part of the model, as two tables."""
    parts = []
    for field in ("kind", "part"):
        groups = program_traffic.grouped(kernels, field)
        total = program_traffic.Traffic(
            "all", len(kernels), sum(group.bytes for group in groups)
        )
        rows = [
            (
                group.name,
                f"{group.kernels:,}",
                f"{group.bytes / 1e9:.2f}",
                f"{1e3 * group.bytes / COPY:.2f}",
            )
            for group in (*groups, total)
        ]
        parts.append(tables.align([(field, "kernels", "GB", "ms at 2.9 TB/s"), *rows]))
    return "\n\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=128, help="texts of a step")
    parser.add_argument(
        "--merged", action="store_true", help="with merged_kernels=true"
    )
    parser.add_argument("--out", help="file for the text of the compiled program")
    flags = parser.parse_args()
    started = time.perf_counter()
    try:
        program = compiled(flags.texts, flags.merged)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        print(
            f"error: no program for an H100: {reason}; expected jax[cuda13] to be installed",
            file=sys.stderr,
        )
        return 2
    text = program.as_text()
    if flags.out:
        files.write_text(Path(flags.out), text)
    print(f"compiled in {time.perf_counter() - started:.0f} s, without autotuning\n")
    print(report(program_traffic.kernels(text)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
