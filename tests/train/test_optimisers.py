"""Optimisers, weight decay, schedules and rates of layers against PyTorch in float64."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import Toy

from mtra_jax import config_values
from mtra_jax.methods import model, registry
from mtra_jax.models import encoder, pretrained
from mtra_jax.train import optimiser, schedules

TASKS = ("alpha", "beta")
DEPTH = 3
STEPS, WARM_UP = 24, 5
RATE, WEIGHT_DECAY, LAYER_DECAY, CRITIC_RATE = 0.01, 0.3, 0.8, 2.5
ANY_NORM = 1e9


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def draw(seed):
    """Parameters like a model's, or a gradient without zeros."""
    rng = np.random.default_rng(seed)

    def norm(*shape):
        return {"scale": rng.normal(size=shape), "bias": rng.normal(size=shape)}

    def dense(*shape):
        bias = rng.normal(size=(*shape[:-2], shape[-1]))
        return {"kernel": rng.normal(size=shape), "bias": bias}

    embedding = {"embedding": rng.normal(size=(5, 4))}
    return {
        "encoder": {
            "embeddings": {"word_embeddings": embedding, "norm": norm(4)},
            "layers": {"intermediate": dense(DEPTH, 4, 6), "norm": norm(DEPTH, 4)},
        },
        "heads": {task: dense(4, 2) for task in TASKS},
        "method": {
            "statistics": dense(4, 3),
            "tasks": {task: {"log_variance": rng.normal(size=())} for task in TASKS},
        },
    }


def present_at(step):
    """Each task is absent in some steps, both in a few."""
    return np.array([step % 3 != 1, step % 4 < 2])


class Piece:
    """A leaf, or a layer's part of it: what one parameter of PyTorch is."""

    def __init__(self, path, owner, layer=None):
        self.path, self.owner, self.layer = path, owner, layer

    def of(self, tree):
        for key in self.path:
            tree = tree[key]
        return np.array(tree if self.layer is None else tree[self.layer])

    @property
    def is_decayed(self):
        return self.path[-1] in ("kernel", "embedding")

    @property
    def is_critic(self):
        return self.path[:2] == ["method", "statistics"]

    @property
    def share_of_the_rate(self):
        """The exponents of BEiT: 0 for heads, 1 for the top layer, N + 1 for embeddings."""
        if self.is_critic:
            return CRITIC_RATE
        if self.layer is not None:
            return LAYER_DECAY ** (DEPTH - self.layer)
        return LAYER_DECAY ** (DEPTH + 1) if "embeddings" in self.path else 1.0

    def rests(self, step):
        present = dict(zip(TASKS, present_at(step), strict=True))
        return not present.get(self.owner, True)


def pieces():
    tree = draw(0)
    owners = jax.tree.leaves(model.owners(tree))
    result = []
    for (path, leaf), owner in zip(
        jax.tree_util.tree_leaves_with_path(tree), owners, strict=True
    ):
        keys = [entry.key for entry in path]
        layers = range(len(leaf)) if "layers" in keys else [None]
        result += [Piece(keys, owner, layer) for layer in layers]
    return result


def walk(optimise):
    """Yields the parameters after each step."""
    update = jax.jit(optimise.update)
    params = jax.tree.map(jnp.asarray, draw(0))
    state = jax.jit(optimise.init)(params)
    for step in range(STEPS):
        updates, state = update(
            draw(step + 1), state, params, present=jnp.asarray(present_at(step))
        )
        params = optax.apply_updates(params, updates)
        yield params


class PyTorch:
    """A parameter group for each piece, and no gradient for pieces that rest."""

    def __init__(self, make, **options):
        self.torch = pytest.importorskip("torch")
        self.values = {
            piece: self.torch.nn.Parameter(self.torch.from_numpy(piece.of(draw(0))))
            for piece in pieces()
        }
        groups = [
            {"params": [value], **self.group(piece)}
            for piece, value in self.values.items()
        ]
        self.optimiser = getattr(self.torch.optim, make)(groups, **options)

    def group(self, piece):
        return {"lr": RATE}

    def step(self, step):
        gradient = draw(step + 1)
        for piece, value in self.values.items():
            grad = self.torch.from_numpy(piece.of(gradient))
            value.grad = None if piece.rests(step) else grad
        # NAdam keeps a product in the default type.
        self.torch.set_default_dtype(self.torch.float64)
        try:
            self.optimiser.step()
        finally:
            self.torch.set_default_dtype(self.torch.float32)

    def assert_equal(self, params, tolerance):
        for piece, value in self.values.items():
            np.testing.assert_allclose(
                piece.of(params), value.detach().numpy(), rtol=0, atol=tolerance
            )


class RAdam(PyTorch):
    """Adds ε to √v after the bias correction, as optax does."""

    def step(self, step):
        for group in self.optimiser.param_groups:
            count = self.optimiser.state[group["params"][0]].get("step", 0) + 1
            group["eps"] = 1e-8 * math.sqrt(1 - 0.999 ** float(count))
        super().step(step)


class ByHand:
    """One step of an optimiser in NumPy for each piece; `rule`: see `lion`."""

    def __init__(self, rule):
        self.rule = rule
        self.values = {piece: piece.of(draw(0)) for piece in pieces()}
        self.states = {piece: {"m": 0.0, "s": 0.0, "t": 0} for piece in self.values}

    def step(self, step):
        gradient = draw(step + 1)
        for piece, state in self.states.items():
            if not piece.rests(step):
                state["t"] += 1
                change = self.rule(state, piece.of(gradient))
                self.values[piece] = self.values[piece] - RATE * change

    def assert_equal(self, params, tolerance):
        for piece, value in self.values.items():
            np.testing.assert_allclose(piece.of(params), value, rtol=0, atol=tolerance)


def lion(state, gradient):
    """Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", Algorithm 2."""
    change = np.sign(0.9 * state["m"] + 0.1 * gradient)
    state["m"] = 0.99 * state["m"] + 0.01 * gradient
    return change


def adabelief(state, gradient):
    """Zhuang et al. 2020, "AdaBelief Optimizer", Algorithm 2."""
    state["m"] = 0.9 * state["m"] + 0.1 * gradient
    error = gradient - state["m"]
    state["s"] = 0.999 * state["s"] + 0.001 * error**2 + 1e-16
    mean = state["m"] / (1 - 0.9 ** state["t"])
    deviation = np.sqrt(state["s"] / (1 - 0.999 ** state["t"]))
    return mean / (deviation + 1e-16)


REFERENCES = {
    "adamax": functools.partial(PyTorch, "Adamax"),
    "adam": functools.partial(PyTorch, "Adam"),
    "adamw": functools.partial(PyTorch, "AdamW", weight_decay=0.0),
    # Its momentum is constant, 0.9, where 0.96^(step · momentum_decay) is 0.
    "nadam": functools.partial(PyTorch, "NAdam", momentum_decay=1e9),
    "radam": functools.partial(RAdam, "RAdam"),
    "adabelief": functools.partial(ByHand, adabelief),
    "adadelta": functools.partial(PyTorch, "Adadelta", rho=0.9, eps=1e-6),
    "lion": functools.partial(ByHand, lion),
    "rmsprop": functools.partial(PyTorch, "RMSprop"),
    "adagrad": functools.partial(PyTorch, "Adagrad", eps=0.0),
    "sgd": functools.partial(PyTorch, "SGD", momentum=0.9),
}


def test_every_optimiser_has_a_reference_and_can_be_configured():
    assert REFERENCES.keys() == optimiser.OPTIMISERS.keys()
    assert config_values.CHOICES["optimiser"] == (*optimiser.OPTIMISERS,)
    assert config_values.CHOICES["schedule"] == (*schedules.DECAYS,)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("name", REFERENCES)
def test_each_optimiser_equals_its_reference_with_absent_tasks(name):
    optimise = optimiser.make(lambda step: RATE, TASKS, ANY_NORM, name=name)
    reference = REFERENCES[name]()
    for step, params in enumerate(walk(optimise)):
        reference.step(step)
        reference.assert_equal(params, 1e-12)


class DecayedAdamW(PyTorch):
    """Rates of layers and critic, and no decay of norms, biases and task weights."""

    def group(self, piece):
        decay = WEIGHT_DECAY if piece.is_decayed else 0.0
        return {"lr": RATE * piece.share_of_the_rate, "weight_decay": decay}


def hugging_face(name, step):
    """The share of the rate by `get_linear_schedule_with_warmup` and its like.

    Only the warm-up differs: there its first step has the rate 0.
    """
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    progress = (step - WARM_UP) / (STEPS - WARM_UP)
    return {
        "constant": 1.0,
        "linear": 1 - progress,
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
    }[name]


@pytest.mark.torch
@pytest.mark.parametrize("name", schedules.DECAYS)
def test_adamw_with_decay_rates_of_layers_and_schedule_equals_pytorch(name):
    optimise = optimiser.make(
        # In float64: integers would be divided in float32.
        schedules.make(name, *np.float64([RATE, WARM_UP, STEPS])),
        TASKS,
        ANY_NORM,
        name="adamw",
        weight_decay=WEIGHT_DECAY,
        layer_decay=LAYER_DECAY,
        critic_rate=CRITIC_RATE,
    )
    reference = DecayedAdamW("AdamW")
    rates = reference.torch.optim.lr_scheduler.LambdaLR(
        reference.optimiser, functools.partial(hugging_face, name)
    )
    for step, params in enumerate(walk(optimise)):
        reference.step(step)
        rates.step()
        reference.assert_equal(params, 1e-12)


@pytest.mark.parametrize("name", optimiser.OPTIMISERS)
def test_a_resting_task_changes_neither_parameters_nor_state(name):
    """To the bit, although its gradient, its momentum and its decay are not 0."""
    optimise = optimiser.make(
        lambda step: RATE, TASKS, ANY_NORM, name=name, weight_decay=WEIGHT_DECAY
    )

    @jax.jit
    def two_steps(params):
        state = optimise.init(params)
        trees = []
        for step, present in enumerate(([True, True], [False, True])):
            updates, state = optimise.update(
                draw(step), state, params, present=jnp.array(present)
            )
            params = optax.apply_updates(params, updates)
            own = jax.tree.map(lambda leaf: leaf[0], state[1].own)
            heads, tasks = params["heads"], params["method"]["tasks"]
            trees.append(((heads["alpha"], tasks["alpha"], own), heads["beta"]))
        return trees

    (before, moved), (after, moved_again) = two_steps(draw(0))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert not np.array_equal(moved["kernel"], moved_again["kernel"])


@pytest.mark.slow
@pytest.mark.parametrize("name", optimiser.OPTIMISERS)
def test_the_rate_of_the_critic_scales_its_updates_alone(name):
    """With each optimiser; without a statistics network it does nothing."""

    @functools.partial(jax.jit, static_argnames=("rate", "has_critic"))
    def updates(params, rate, has_critic=True):
        optimise = optimiser.make(
            lambda step: RATE, TASKS, ANY_NORM, name=name, critic_rate=rate
        )
        trees = [params, draw(1), draw(2)]
        if not has_critic:
            for tree in trees:
                del tree["method"]["statistics"]
        params, *gradients = trees
        state = optimise.init(params)
        for gradient in gradients:
            changes, state = optimise.update(
                gradient, state, params, present=jnp.array([True, False])
            )
        return changes

    plain, scaled = updates(draw(0), None), updates(draw(0), CRITIC_RATE)
    for piece in pieces():
        factor = CRITIC_RATE if piece.is_critic else 1.0
        expected = factor * piece.of(plain)
        np.testing.assert_allclose(piece.of(scaled), expected, rtol=1e-14, atol=0)
        assert np.any(expected) or piece.rests(0) or piece.owner == "beta"
    without = updates(draw(0), CRITIC_RATE, has_critic=False)
    del plain["method"]["statistics"]
    jax.tree.map(np.testing.assert_array_equal, without, plain)


def test_a_schedule_that_decays_moves_in_its_last_planned_step_and_not_after_it():
    for name in ("linear", "cosine"):
        rate = schedules.make(name, RATE, WARM_UP, STEPS)
        values = [float(rate(step)) for step in range(STEPS + 3)]
        expected = [RATE * hugging_face(name, step) for step in range(STEPS)]
        np.testing.assert_allclose(values, [*expected, 0, 0, 0], atol=1e-16)
        assert values[STEPS - 1] > 0


def test_a_run_of_warm_up_alone_has_no_decay():
    rate = schedules.make("linear", RATE, STEPS, STEPS)
    np.testing.assert_allclose(rate(STEPS - 1), RATE, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.make("step", 0.1, 1, 2), "`name` must be one of constant"),
        (lambda: schedules.make("cosine", 0.1, 1), "`num_steps` must be given"),
        (lambda: optimiser.make(None, TASKS, name="lamb"), "`name` must be one of ada"),
    ],
)
def test_wrong_names_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# What the decay of weights leaves alone, besides norms and biases.
LEARNED_WEIGHTS = {
    "log_scale",
    "log_variance",
    "noise_log_variance",
    "prior_log_variance",
    "w_logits",
    "z_logits",
}


def test_every_parameter_is_decayed_or_masked_on_purpose():
    """Matrices and embeddings decay, in every method and in the encoder."""
    config = encoder.EncoderConfig(hidden_size=4, num_attention_heads=1)
    trees = [
        jax.eval_shape(Toy().make(name).init, jax.random.key(0))
        for name in registry.METHODS
    ]
    new_encoder = functools.partial(pretrained.init_encoder, config)
    trees.append(jax.eval_shape(new_encoder, jax.random.key(0)))
    names = {
        path[-1].key
        for tree in trees
        for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    }
    assert names == {*optimiser.DECAYED, "scale", "bias", *LEARNED_WEIGHTS}
