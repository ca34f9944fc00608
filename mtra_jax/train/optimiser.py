"""Gradients -> parameter updates: clipping, an optimiser, weight decay, separate rates."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from mtra_jax.methods import model
from mtra_jax.train.resting import resting
from mtra_jax.types import Params

B1, B2, EPSILON = 0.9, 0.999, 1e-8

# As in PyTorch, where it has the optimiser: the same averages, ε outside of square roots,
# no bias correction for RMSprop. All are elementwise, which `resting` needs.
OPTIMISERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adamax": lambda: optax.scale_by_adamax(B1, B2, EPSILON),
    "adam": lambda: optax.scale_by_adam(B1, B2, EPSILON),
    # With `weight_decay`; without it both are Adam.
    "adamw": lambda: optax.scale_by_adam(B1, B2, EPSILON),
    # Dozat 2016 with a constant momentum; PyTorch's grows to its limit as 0.96^(step/250).
    "nadam": lambda: optax.scale_by_adam(B1, B2, EPSILON, nesterov=True),
    # PyTorch adds ε to √v before the bias correction, optax after it.
    "radam": lambda: optax.scale_by_radam(B1, B2, EPSILON),
    "adabelief": lambda: optax.scale_by_belief(B1, B2, eps=1e-16, eps_root=1e-16),
    "adadelta": lambda: optax.scale_by_adadelta(rho=0.9, eps=1e-6),
    "lion": lambda: optax.scale_by_lion(b1=0.9, b2=0.99),
    "rmsprop": lambda: optax.scale_by_rms(
        decay=0.99, eps=EPSILON, eps_in_sqrt=False, bias_correction=False
    ),
    # ε is in the square root: it must be less than the square of any gradient.
    "adagrad": lambda: optax.scale_by_rss(initial_accumulator_value=0.0, eps=1e-30),
    "sgd": lambda: optax.trace(decay=0.9),
}
"""Name -> a factory of the transformation of the gradient, before the learning rate."""

DECAYED = ("kernel", "embedding")
"""Names of the parameters that `weight_decay` shrinks: matrices and embeddings.

Masked are `scale` and `bias` (of norms and layers), and what a method learns besides the
weights of layers, such as the logarithms of task weights.
"""


def make(
    schedule: optax.Schedule,
    tasks: tuple[str, ...],
    clip_norm: ArrayLike = 1.0,
    *,
    name: str = "adamax",
    weight_decay: ArrayLike | None = None,
    layer_decay: ArrayLike | None = None,
    critic_rate: ArrayLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Makes the optimiser `name`; by default Adamax (Kingma & Ba 2015, Algorithm 2).

    `update` takes the keyword `present`, bool [T]; see `resting`. The order is: clipping at
    `clip_norm` by the norm of the whole gradient, the transformation, weight decay, rates
    of layers and of the critic, `schedule`, which counts every step that is taken, whatever
    tasks its batch has. `weight_decay`: see
    `decay`; `layer_decay`: see `rates_of_layers`; `critic_rate`: see `rate_of_critic`.
    What is None is not part of the program.

    Raises:
      ValueError: an unknown `name`.
    """
    if name not in OPTIMISERS:
        raise ValueError(
            f"`name` must be one of {', '.join(OPTIMISERS)}; found {name!r}."
        )
    parts = [clip(clip_norm), resting(OPTIMISERS[name](), tasks)]
    if weight_decay is not None:
        parts.append(decay(weight_decay, tasks))
    if layer_decay is not None:
        parts.append(rates_of_layers(layer_decay))
    if critic_rate is not None:
        parts.append(rate_of_critic(critic_rate))
    return optax.chain(*parts, optax.scale_by_learning_rate(schedule))


def clip(max_norm: ArrayLike) -> optax.GradientTransformation:
    """Scales the gradient by min(1, c/‖g‖); PyTorch adds 1e-6 to the norm."""

    def update(
        gradient: Params, state: optax.EmptyState, params: Params | None = None
    ) -> tuple[Params, optax.EmptyState]:
        del params
        # One factor; `optax.clip_by_global_norm` divides every entry by the norm.
        factor = jnp.minimum(1, max_norm / optax.tree.norm(gradient))
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), gradient), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def decay(
    weight_decay: ArrayLike, tasks: tuple[str, ...]
) -> optax.GradientTransformationExtraArgs:
    """Adds λθ to the updates of the parameters `DECAYED`, as AdamW does.

    The decay is decoupled: with the rate η a step subtracts ηλθ, whatever the optimiser.
    PyTorch's Adamax, Adam, RMSprop and SGD add λθ to the gradient instead, so that it goes
    through their averages. Parameters of absent tasks do not decay. `update` takes the
    keyword `present`, bool [T].

    Source: Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization".
    """

    def update(
        updates: Params,
        state: optax.EmptyState,
        params: Params | None = None,
        *,
        present: jax.Array,
    ) -> tuple[Params, optax.EmptyState]:
        def decayed(
            path: tuple, leaf: jax.Array, weight: jax.Array, owner: str
        ) -> jax.Array:
            if path[-1].key not in DECAYED:
                return leaf
            share = jnp.asarray(weight_decay, leaf.dtype)
            if owner != model.SHARED:
                share = jnp.where(present[tasks.index(owner)], share, 0)
            return leaf + share * weight

        owners = model.owners(updates)
        return jax.tree_util.tree_map_with_path(decayed, updates, params, owners), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def rates_of_layers(layer_decay: ArrayLike) -> optax.GradientTransformation:
    """Scales updates of layer k of N (from 1) by d^(N + 1 − k), embeddings by d^(N + 1).

    Heads and parameters of methods keep their rate, so the top layer has d times that of
    the heads.

    Source: Clark et al. 2020, "ELECTRA", with the exponents of BEiT (Bao et al. 2022) and
    `timm`. ELECTRA's code has one more power of d in all layers and the embeddings.
    """

    def update(
        updates: Params, state: optax.EmptyState, params: Params | None = None
    ) -> tuple[Params, optax.EmptyState]:
        del params
        layers = updates["encoder"]["layers"]
        depth = len(jax.tree.leaves(layers)[0])
        powers = jnp.power(layer_decay, jnp.arange(depth + 1, 0, -1))  # [N + 1]

        def scaled(leaf: jax.Array) -> jax.Array:
            rates = powers[1:].reshape(-1, *(1,) * (leaf.ndim - 1))
            return leaf * rates.astype(leaf.dtype)

        others = jax.tree.map(
            lambda leaf: leaf * powers[0].astype(leaf.dtype),
            {
                name: tree
                for name, tree in updates["encoder"].items()
                if name != "layers"
            },
        )
        encoder = {**others, "layers": jax.tree.map(scaled, layers)}
        return {**updates, "encoder": encoder}, state

    return optax.GradientTransformation(optax.init_empty_state, update)


def rate_of_critic(critic_rate: ArrayLike) -> optax.GradientTransformation:
    """Scales the updates of a method's statistics network, its weight decay included.

    This is a separate learning rate for the network, `critic_rate` times that of the
    heads. A method without one is not affected.
    """

    def update(
        updates: Params, state: optax.EmptyState, params: Params | None = None
    ) -> tuple[Params, optax.EmptyState]:
        del params
        own = {
            name: jax.tree.map(
                lambda leaf: leaf * jnp.asarray(critic_rate, leaf.dtype), tree
            )
            for name, tree in updates["method"].items()
            if name == model.CRITIC
        }
        return {**updates, "method": {**updates["method"], **own}}, state

    return optax.GradientTransformation(optax.init_empty_state, update)
