"""One shard of a packed batch and the state -> the next state and what was measured."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mtra_jax.methods import base, gradients
from mtra_jax.types import Batch, Metrics, Params


class TrainState(NamedTuple):
    """All that training changes, and the key that all its randomness comes from.

    `bad_steps` counts those skipped in a row. The key is data, not a constant of the
    program: runs that differ in their seed share compiled programs where shapes agree.
    """

    params: Params
    optimiser: Any
    method: Any
    step: jax.Array
    bad_steps: jax.Array
    rng: jax.Array
    """uint32 [2], the words of the key; stays as it is."""


def init_state(
    method: base.Method,
    optimiser: optax.GradientTransformation,
    params: Params,
    rng: jax.Array,
) -> TrainState:
    """The state before the first step of the run whose root key is `rng`."""
    zero = jnp.zeros((), jnp.int32)
    words = jax.random.key_data(rng)
    moments = jax.jit(optimiser.init)(params)  # one program, not one for each leaf
    return TrainState(params, moments, method.init_state, zero, zero, words)


def step_rngs(root: jax.Array, step: jax.Array, axis_name: str | None) -> base.Rngs:
    """The same "method" key on every device; a separate "dropout" key on each."""
    method_rng, dropout_rng = jax.random.split(jax.random.fold_in(root, step))
    if axis_name is not None:
        device = jax.lax.axis_index(axis_name)
        dropout_rng = jax.random.fold_in(dropout_rng, device)
    return {"method": method_rng, "dropout": dropout_rng}


def make_update(
    model: base.Model,
    method: base.Method,
    optimiser: optax.GradientTransformationExtraArgs,
    *,
    one_task: bool,
    axis_name: str | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Returns `update(state, batch) -> (state, metrics)` for one device's shard.

    The metrics hold [T] arrays (`losses`, `present`, `weights`, and each term of the
    method under `terms`) and scalars (`objective`, `scalars`).

    A step whose objective, gradient or new parameters are not finite is skipped: it
    changes nothing but its number and `bad_steps`. All devices see the same global
    values, so they skip together.
    """

    def update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        root = jax.random.wrap_key_data(state.rng)
        rngs = step_rngs(root, state.step, axis_name)
        seen = gradients.differentiate(
            method,
            model,
            state.params,
            batch,
            rngs,
            state.method,
            one_task=one_task,
            axis_name=axis_name,
        )
        updates, optimiser_state = optimiser.update(
            seen.gradient, state.optimiser, state.params, present=seen.present
        )
        params = optax.apply_updates(state.params, updates)
        norms = {
            "norm/grads": optax.tree.norm(seen.gradient),
            "norm/updates": optax.tree.norm(updates),
            "norm/params": optax.tree.norm(params),
        }
        is_good = jnp.isfinite(sum(norms.values()) + seen.objective)
        bad_steps = jnp.where(is_good, 0, state.bad_steps + 1)
        kept = state._replace(step=state.step + 1, bad_steps=bad_steps)
        new = kept._replace(params=params, optimiser=optimiser_state, method=seen.state)
        new = jax.tree.map(lambda new, old: jnp.where(is_good, new, old), new, kept)
        metrics = {
            "losses": seen.losses,
            "present": seen.present,
            "weights": seen.weights,
            "terms": seen.terms,
            "objective": seen.objective,
            "scalars": {**seen.scalars, **norms, "bad_steps": bad_steps},
        }
        return new, metrics

    return update


def make_forward(
    model: base.Model, method: base.Method, *, axis_name: str | None = None
) -> Callable[[Params, Batch], tuple[jax.Array, Metrics]]:
    """Returns `forward(params, batch) -> (outputs, losses)` without dropout.

    `outputs` are those of the global batch in planned order, [B * D, L]; `losses` are
    [T], as in training but for the perturbation, which needs a gradient (MTRA, section
    3.3).
    """

    def forward(params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
        seen = method.losses(model, params, batch, None, axis_name)
        outputs = base.gather(seen.outputs, axis_name)
        return outputs, {"losses": seen.losses, "terms": seen.terms}

    return forward
