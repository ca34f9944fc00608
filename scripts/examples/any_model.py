"""One training loop and three balancers for models of flax linen, flax nnx and plain JAX.

    python scripts/examples/any_model.py

A model is a pair: parameters, any pytree of arrays, and a function that returns the
outputs of all tasks. All three start from the same weights, and so train alike.
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from mtra_jax import balancing, objectives

CLASSES = (2, 3, 4)  # of each task
INPUTS, WIDTH, EXAMPLES = 8, 32, 256
BALANCERS = {
    "uw": balancing.uw(),  # learns numbers
    "pcgrad": balancing.pcgrad(),  # draws random numbers
    "nash_mtl": balancing.nash_mtl(),
}


# ---- flax linen


class LinenNetwork(nn.Module):
    @nn.compact
    def __call__(self, x):
        z = nn.tanh(nn.Dense(WIDTH, name="shared")(x))
        return [nn.Dense(n, name=f"head{task}")(z) for task, n in enumerate(CLASSES)]


def linen_model(layers):
    network = LinenNetwork()
    return layers, lambda params, x: network.apply({"params": params}, x)


# ---- flax nnx


class NnxNetwork(nnx.Module):
    def __init__(self, rngs):
        self.shared = nnx.Linear(INPUTS, WIDTH, rngs=rngs)
        self.heads = nnx.List([nnx.Linear(WIDTH, n, rngs=rngs) for n in CLASSES])

    def __call__(self, x):
        z = jnp.tanh(self.shared(x))
        return [head(z) for head in self.heads]


def nnx_model(layers):
    network = NnxNetwork(nnx.Rngs(0))
    for layer, own in zip(
        [network.shared, *network.heads], layers.values(), strict=True
    ):
        layer.kernel, layer.bias = nnx.Param(own["kernel"]), nnx.Param(own["bias"])
    # What is not a parameter (counts, running means) would be in a third part.
    definition, params = nnx.split(network, nnx.Param)
    return params, lambda params, x: nnx.merge(definition, params)(x)


# ---- a plain pytree, as equinox has them


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Layer:
    kernel: jax.Array
    bias: jax.Array

    def __call__(self, x):
        return x @ self.kernel + self.bias


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PlainNetwork:
    shared: Layer
    heads: list[Layer]
    activation: Callable = dataclasses.field(
        default=jnp.tanh, metadata={"static": True}
    )

    def __call__(self, x):
        z = self.activation(self.shared(x))
        return [head(z) for head in self.heads]


def plain_model(layers):
    shared, *heads = (Layer(**own) for own in layers.values())
    return PlainNetwork(shared, heads), lambda network, x: network(x)


MODELS = {"linen": linen_model, "nnx": nnx_model, "plain": plain_model}


# ---- the loop


def train(balancer, params, apply, num_steps=200):
    """Trains with one balancer, and returns the losses of each step [steps, T]."""
    x, labels = draw_data()

    def losses_fn(params, x, labels):
        pairs = zip(apply(params, x), labels, CLASSES, strict=True)
        one_hot = jax.nn.one_hot
        return jnp.stack(
            [objectives.cross_entropy(out, one_hot(y, n)) for out, y, n in pairs]
        )

    step = balancing.value_and_grad(losses_fn, balancer)
    optimiser = optax.adam(1e-2)

    @jax.jit
    def update(params, state, moments, rng):
        (_, aux), gradient, state = step(params, state, x, labels, rng=rng)
        # The optimiser also moves what the balancer learns, () for most of them.
        trained = params, state.learned
        changes, moments = optimiser.update((gradient, aux.learned), moments, trained)
        params, learned = optax.apply_updates(trained, changes)
        return params, state._replace(learned=learned), moments, aux.losses

    state = balancer.init(len(CLASSES))
    moments, losses = optimiser.init((params, state.learned)), []
    for rng in jax.random.split(jax.random.key(0), num_steps):
        params, state, moments, own = update(params, state, moments, rng)
        losses.append(own)
    return np.array(losses)


def draw_layers(seed=0):
    """The first weights: {"shared", "head0", ...}."""
    draws, sizes = np.random.default_rng(seed), [(INPUTS, WIDTH)]
    sizes += [(WIDTH, count) for count in CLASSES]
    names = ["shared", *(f"head{task}" for task in range(len(CLASSES)))]
    return {
        name: {
            "kernel": jnp.array(draws.normal(size=size) / size[0] ** 0.5),
            "bias": jnp.zeros(size[1]),
        }
        for name, size in zip(names, sizes, strict=True)
    }


def draw_data(seed=1):
    """Inputs [N, 8], and the classes [N] of each task by a linear rule."""
    draws = np.random.default_rng(seed)
    x = draws.normal(size=(EXAMPLES, INPUTS))
    return x, [(x @ draws.normal(size=(INPUTS, n))).argmax(axis=1) for n in CLASSES]


def main():
    for name, balancer in BALANCERS.items():
        for library, make in MODELS.items():
            losses = train(balancer, *make(draw_layers()))
            first, last = (np.array2string(losses[i], precision=3) for i in (0, -1))
            print(f"{name}, {library}: losses {first} -> {last}")


if __name__ == "__main__":
    main()
