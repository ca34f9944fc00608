"""The name of an activation -> the elementwise function of `transformers`."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

Activation = Callable[[jax.Array], jax.Array]


def gelu(x: jax.Array) -> jax.Array:
    """x Φ(x) by erf, as in PyTorch. `jax.nn.gelu` uses erfc, twice as slow on a CPU."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    cumulative = 0.5 * (1 + jax.lax.erf(x.astype(wide) * math.sqrt(0.5)))
    return x * cumulative.astype(x.dtype)


def _clipped_gelu(x: jax.Array) -> jax.Array:
    return jnp.clip(gelu(x), -10, 10)


def _fast_gelu(x: jax.Array) -> jax.Array:
    # √(2/π) to ten digits, with which models with this activation were trained.
    return 0.5 * x * (1 + jnp.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x)))


def _quick_gelu(x: jax.Array) -> jax.Array:
    return x * jax.nn.sigmoid(1.702 * x)


def _laplace(x: jax.Array) -> jax.Array:
    return 0.5 * (1 + jax.lax.erf((x - 0.707107) / (0.282095 * math.sqrt(2))))


def _squared_relu(x: jax.Array) -> jax.Array:
    return jnp.square(jax.nn.relu(x))


def _root_of_softplus(x: jax.Array) -> jax.Array:
    # PyTorch's softplus is the identity above 20. Far below 0 softplus is eˣ and
    # underflows to 0, where the root has no derivative; √(eˣ) = e^(x/2) has one.
    is_low = x < -30
    softplus = jnp.where(x > 20, x, jax.nn.softplus(jnp.where(is_low, 0, x)))
    root = jnp.exp(jnp.minimum(x, 0) / 2)
    return jnp.where(is_low, root, jnp.sqrt(softplus))


def _linear(x: jax.Array) -> jax.Array:
    return x


_tanh_gelu = functools.partial(jax.nn.gelu, approximate=True)

ACTIVATIONS: dict[str, Activation] = {
    "gelu": gelu,
    "gelu_10": _clipped_gelu,
    "gelu_accurate": _tanh_gelu,
    "gelu_fast": _fast_gelu,
    "gelu_new": _tanh_gelu,
    "gelu_python": gelu,
    "gelu_python_tanh": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "hardswish": jax.nn.hard_swish,
    "laplace": _laplace,
    "leaky_relu": jax.nn.leaky_relu,
    "linear": _linear,
    "mish": jax.nn.mish,
    "quick_gelu": _quick_gelu,
    "relu": jax.nn.relu,
    "relu2": _squared_relu,
    "relu6": jax.nn.relu6,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "sqrtsoftplus": _root_of_softplus,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
}
"""All activations of `transformers` without parameters (not `prelu`, `xielu`)."""
