"""Layers per iteration of the encoder's loop -> size of MTRA's step, time to compile it."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import scaling
import step_costs

from mtra_jax.models.encoder import EncoderConfig

ROBERTA_BASE = EncoderConfig(
    model_type="roberta",
    vocab_size=50265,
    max_position_embeddings=514,
    type_vocab_size=1,
    pad_token_id=1,
    layer_norm_eps=1e-5,
)
NUM_TASKS = 6


class ProgramCost(NamedTuple):
    """One compiled step, with `unroll` layers in an iteration of the encoder's loop."""

    unroll: int
    num_instructions: int
    """Instructions of the optimised program, with those inside fusions."""
    trace_seconds: float
    """From Python to the compiler's input."""
    compile_seconds: float
    memory: step_costs.Memory


def programs(
    unrolls: Sequence[int] = (1, 2, 4, 12),
    *,
    config: EncoderConfig = ROBERTA_BASE,
    num_texts: int = 128,
    dtype: Any = jnp.float32,
    seed: int = 0,
) -> list[ProgramCost]:
    """Compiles MTRA's step for one task's batch of `num_texts`, without running it.

    The state exists as shapes only, so RoBERTa-base compiles on a small machine.
    """
    packed = scaling.batches_of(
        [NUM_TASKS], config, scaling.NUM_BATCHES * num_texts, num_texts, seed
    )
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), packed[NUM_TASKS][0]
    )
    return [_program(unroll, config, batch, num_texts, dtype) for unroll in unrolls]


def _program(
    unroll: int, config: EncoderConfig, batch: Any, num_texts: int, dtype: Any
) -> ProgramCost:
    update, new_state = scaling.step_of(
        NUM_TASKS, config, num_texts, dtype, unroll=unroll, one_task=True
    )
    state = jax.eval_shape(new_state)
    started = time.perf_counter()
    lowered = jax.jit(update, donate_argnums=0).lower(state, batch)
    traced = time.perf_counter()
    compiled = lowered.compile()
    ended = time.perf_counter()
    return ProgramCost(
        unroll,
        step_costs.instructions(compiled.as_text()),
        traced - started,
        ended - traced,
        step_costs.memory(compiled),
    )
