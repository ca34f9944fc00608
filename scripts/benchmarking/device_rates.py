"""This machine -> device, versions, and the rates of products and of memory."""

import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp

from mtra_jax.train.devices import choose_devices

PACKAGES = (
    "jax",
    "jaxlib",
    "jax-cuda12-plugin",
    "jax-cuda13-plugin",
    "flax",
    "optax",
    "numpy",
    "torch",
    "transformers",
)
QUERY = "name,driver_version,memory.total,clocks.max.sm,power.limit"


def measure(options: dict[str, Any], emit: Any) -> None:
    device = choose_devices(1)[0]
    versions = {name: version for name in PACKAGES if (version := version_of(name))}
    memory = (device.memory_stats() or {}).get("bytes_limit", 0)
    emit(
        "device",
        f"{device.device_kind}, {memory / 2**30:.0f} GiB for JAX, "
        f"{os.cpu_count()} cores",
        device=device.device_kind,
        platform=device.platform,
        bytes_limit=memory,
        cpu_count=os.cpu_count(),
    )
    emit("nvidia-smi", nvidia_smi() or "not there")
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    emit("versions", f"Python {platform.python_version()}, {listed}", versions=versions)
    size = 512 if options["small"] else 8192
    seconds = product_seconds(device, size)
    rate = 2 * size**3 / seconds
    emit(
        "product",
        f"{rate / 1e12:.1f} TFLOP/s, bfloat16, {size} x {size} x {size}, random values",
        size=size,
        flop_per_second=rate,
        context={"product_rate": rate},
    )
    num_bytes = 2**24 if options["small"] else 2**31
    seconds = copy_seconds(device, num_bytes)
    rate = 2 * num_bytes / seconds
    emit(
        "copy",
        f"{rate / 1e12:.3f} TB/s, {num_bytes / 2**20:.0f} MiB read and as many written",
        bytes_per_second=rate,
        num_bytes=num_bytes,
        context={"copy_rate": rate},
    )


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def nvidia_smi() -> str | None:
    """Name, driver, memory, highest clock and power limit of each GPU."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return "; ".join(answer.stdout.strip().split("\n"))


def product_seconds(device: jax.Device, size: int) -> float:
    """Seconds of a bfloat16 product of two random [size, size] matrices."""

    @jax.jit
    def draw(key: jax.Array) -> jax.Array:
        return jax.random.normal(key, (size, size), jnp.bfloat16)

    with jax.default_device(device):
        left, right = draw(jax.random.key(0)), draw(jax.random.key(1))
    product = jax.jit(jnp.matmul)
    return median_seconds(lambda: product(left, right))


def copy_seconds(device: jax.Device, num_bytes: int) -> float:
    """Seconds to read `num_bytes` and to write as many: a negated float32 array."""
    with jax.default_device(device):
        array = jax.jit(lambda: jnp.arange(num_bytes // 4, dtype=jnp.float32))()
    negate = jax.jit(jnp.negative)
    return median_seconds(lambda: negate(array))


def median_seconds(
    function: Callable[[], jax.Array], calls: int = 10, groups: int = 9
) -> float:
    """Seconds per call: the median over groups of calls, with one wait per group."""
    jax.block_until_ready([function() for _ in range(3)])
    times = []
    for _ in range(groups):
        started = time.perf_counter()
        for _ in range(calls):
            result = function()
        jax.block_until_ready(result)
        times.append((time.perf_counter() - started) / calls)
    return statistics.median(times)
