"""A step -> its operations, its memory, its collectives."""

import re
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtra_jax.models.encoder import EncoderConfig

COLLECTIVE = re.compile(
    r"= (?P<shapes>\(?[a-z0-9]+\[[^\n]*?) "
    r"(?P<name>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)"
    r"(?:-start)?\("
)
ARRAY = re.compile(r"([a-z]+[0-9]*)\[([0-9,]*)\]")
INSTRUCTION = re.compile(r"^ +(?:ROOT )?%?[\w.-]+ = ", re.MULTILINE)
LARGE = 4096
SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f64": 8, "s64": 8, "u64": 8}


class Memory(NamedTuple):
    """Bytes of one device: a step's peak, and its arguments (state and batch)."""

    peak: int
    state: int


class Collective(NamedTuple):
    """Collectives of one kind in a program: their number, and bytes of their results.

    `num_large` counts those with more than `LARGE` bytes of results: arrays such as
    gradients, in contrast to a few numbers per task.
    """

    count: int
    num_large: int
    num_bytes: int


def forward_flops(config: EncoderConfig, lengths: np.ndarray) -> float:
    """Operations of one forward pass over texts of `lengths`, counting real tokens only.

    Each multiplication of a matrix product counts as two. The last layer computes most
    of its products for first tokens only, and only those count. Heads and norms are left
    out as small.
    """
    lengths = np.asarray(lengths, np.float64)
    width, inner = config.hidden_size, config.intermediate_size
    tokens, pairs, texts = lengths.sum(), (lengths**2).sum(), len(lengths)
    keys_and_values = 4 * width**2
    others = 4 * width**2 + 4 * width * inner  # query, output; both of feed-forward
    layer = tokens * (keys_and_values + others) + 4 * pairs * width
    last = tokens * keys_and_values + texts * others + 4 * tokens * width
    return float((config.num_hidden_layers - 1) * layer + last)


def step_flops(config: EncoderConfig, lengths: np.ndarray, passes: int) -> float:
    """Operations of a step of `passes` forward passes, each with its backward pass.

    A backward pass has two products for each one of the forward pass.
    """
    return 3 * passes * forward_flops(config, lengths)


def matrix_rate(dtype: Any, device: jax.Device, seconds: float = 1.0) -> float:
    """Operations per second of a large matrix product of `dtype`, the maximum of many."""
    size = 2048 if device.platform == "cpu" else 8192
    rows = jax.device_put(jnp.ones((size, size), dtype), device)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(rows, rows))
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        jax.block_until_ready(product(rows, rows))
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def memory(compiled: jax.stages.Compiled) -> Memory:
    """Memory of a step on each device: state, batch, results and buffers."""
    analysis = compiled.memory_analysis()
    held = analysis.argument_size_in_bytes
    made = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return Memory(held + made + analysis.temp_size_in_bytes, held)


def collectives(text: str) -> dict[str, Collective]:
    """The collectives of a compiled program's text, by kind.

    >>> collectives("%a = f32[3,2]{1,0} all-reduce(%b), channel_id=1")
    {'all-reduce': Collective(count=1, num_large=0, num_bytes=24)}
    """
    totals: dict[str, Collective] = {}
    for match in COLLECTIVE.finditer(text):
        num_bytes = sum(
            SIZES.get(kind, 4) * int(np.prod([int(n) for n in shape.split(",") if n]))
            for kind, shape in ARRAY.findall(match["shapes"])
        )
        count, num_large, before = totals.get(match["name"], (0, 0, 0))
        totals[match["name"]] = Collective(
            count + 1, num_large + (num_bytes > LARGE), before + num_bytes
        )
    return totals


def instructions(text: str) -> int:
    """Instructions of a compiled program's text, those inside fusions included.

    >>> instructions("ENTRY %main {\\n  %a = f32[] add(%b, %b)\\n  ROOT %c = f32[] abs(%a)\\n}")
    2
    """
    return len(INSTRUCTION.findall(text))
