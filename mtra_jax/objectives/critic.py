"""Representations and targets -> scores of the MINE critic, as pure functions."""

import jax

from mtra_jax.objectives import masked

Critic = dict[str, dict[str, jax.Array]]
"""The critic's parameters: `from_z`, `from_y` and `score`, as the trainer stores them."""


def init_critic(rng: jax.Array, z_width: int, y_width: int, width: int = 128) -> Critic:
    """Returns the first parameters of a critic for z [..., H] and y [..., L].

    `z_width` is H, `y_width` is L, `width` the number of hidden units. Every weight and
    bias is drawn from U(±1/√fan_in), as PyTorch's linear layers do.

    Raises:
      ValueError: a width is not positive.

    >>> params = init_critic(jax.random.key(0), z_width=3, y_width=2, width=4)
    >>> {name: layer["kernel"].shape for name, layer in params.items()}
    {'from_z': (3, 4), 'from_y': (2, 4), 'score': (4, 1)}
    """
    for name, size in (("z_width", z_width), ("y_width", y_width), ("width", width)):
        if size < 1:
            raise ValueError(f"`{name}` must be at least 1; found {size}.")

    def draw(key: jax.Array, shape: tuple[int, ...], fan_in: int) -> jax.Array:
        limit = fan_in**-0.5
        return jax.random.uniform(key, shape, minval=-limit, maxval=limit)

    keys = jax.random.split(rng, 4)
    return {
        "from_z": {
            "kernel": draw(keys[0], (z_width, width), z_width),
            "bias": draw(keys[1], (width,), z_width),
        },
        "from_y": {"kernel": draw(keys[2], (y_width, width), y_width)},
        "score": {"kernel": draw(keys[3], (width, 1), width)},
    }


def critic_scores(params: Critic, z: jax.Array, y: jax.Array) -> jax.Array:
    """Returns V(y|z) = w₃ᵀ relu(W₁ z + W₂ y + b), one score for each pair.

    `params`: those of `init_critic`, or of a trained run. `z` [..., H] and `y` [..., L]
    may broadcast: z[:, None] and y[None] give the scores of all pairs. The scores are in
    float32, or in float64 if an input is. The output has no bias: `dv_bound` and
    `info_nce_bound` do not depend on it. For `jsd_bound` and `smile_bound`, which do, the
    hidden units' biases have to find it.

    Raises:
      ValueError: the last axis of `z` or `y` is not that of the parameters.
      TypeError: entries of `z` or `y` are not real numbers.

    Source: MTRA, Eq. 2; the form follows the released code of CIFM (Hu et al. 2024).

    >>> import jax.numpy as jnp
    >>> one = {"kernel": jnp.ones((1, 1))}
    >>> params = {"from_z": {**one, "bias": jnp.zeros(1)}, "from_y": one, "score": one}
    >>> print(critic_scores(params, jnp.array([[1.0], [2.0]]), jnp.array([[3.0], [-9.0]])))
    [4. 0.]
    """
    z, y = masked.as_floats("z", z), masked.as_floats("y", y)
    layer, from_y = params["from_z"], params["from_y"]
    for name, value, kernel in (("z", z, layer["kernel"]), ("y", y, from_y["kernel"])):
        if value.ndim == 0 or value.shape[-1] != len(kernel):
            raise ValueError(
                f"`{name}` must have {len(kernel)} entries in its last axis, as the "
                f"critic's parameters; found shape {value.shape}."
            )
    hidden = z @ layer["kernel"] + layer["bias"] + y @ from_y["kernel"]
    return (jax.nn.relu(hidden) @ params["score"]["kernel"])[..., 0]
