"""Gradients averaged over devices layer by layer, against the mean at the end."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import step_costs
from tiers import NIGHTLY_ONLY, rest_nightly

from mtra_jax import config as configs
from mtra_jax.data.packed import batches, shapes
from mtra_jax.data.tokenizing.tokens import Tokens
from mtra_jax.methods import registry
from mtra_jax.methods.model import Model, Space
from mtra_jax.models import encoder, heads, pretrained
from mtra_jax.runs.training import choices
from mtra_jax.tasks import SYNTHETIC
from mtra_jax.train import optimiser, step
from mtra_jax.train.devices import AXIS, Program, to_host

TASKS, SIZES, HIDDEN, LAYERS = ("a", "b"), (3, 2), 8, 3
SPACE = Space(
    TASKS, np.array([0, 0, 0, 1, 1], np.int32), np.array([True, False]), (8, 8), 2
)
CONFIG = encoder.EncoderConfig(
    vocab_size=30,
    hidden_size=HIDDEN,
    num_hidden_layers=LAYERS,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=16,
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.1,
)
# Texts of both tasks, and of the first alone; the last device gets fewer.
PLANS = ((0, 8, 1, 9, 2, 10, 3, -1), (4, 5, 6, 7, 0, 1, -1, -1))


@functools.cache
def corpus():
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, size=16)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(3, 30, size=offsets[-1]).astype(np.int32)
    targets = np.zeros((16, 5), np.float32)
    targets[np.arange(8), np.arange(8) % 3] = 1
    targets[8:, 3:] = rng.normal(size=(8, 2))
    tasks = np.repeat(np.arange(2, dtype=np.int32), 8)
    return batches.Corpus(Tokens(ids, offsets), tasks, targets, (8, 8))


def batch_of(plan, num_devices):
    plan = np.array([plan])
    shape = shapes.covering(shapes.needed(corpus(), plan, num_devices))
    batcher = batches.Batcher(
        corpus(), [shape], num_devices=num_devices, local_devices=range(num_devices)
    )
    return next(iter(batcher.batches(plan)))


def program(
    name, num_devices, *, in_pieces, one_task=True, unroll=None, mapping="pmap"
):
    """The step of the method `name`, and the first state."""
    outputs = tuple(zip(TASKS, SIZES, strict=True))
    network = encoder.Encoder(CONFIG, jnp.float32, unroll, AXIS if in_pieces else None)
    model = Model(network, heads.Heads(outputs, 0.1), SPACE, HIDDEN, in_pieces)
    method = registry.make(name, model)
    params = {
        "encoder": pretrained.init_encoder(CONFIG, jax.random.key(0)),
        "heads": model.heads.init(
            jax.random.key(1), jnp.zeros((1, HIDDEN)), deterministic=True
        )["params"],
        "method": method.init(jax.random.key(2)),
    }
    optimise = optimiser.make(optax.constant_schedule(1e-2), TASKS)
    update = step.make_update(
        method,
        optimise,
        tasks=TASKS,
        one_task=one_task,
        axis_name=AXIS,
    )
    devices = jax.devices()[:num_devices]
    made = Program(update, devices, donate_first=False, mapping=mapping)
    return made, to_host(step.init_state(method, optimise, params, jax.random.key(3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_devices", "one_task", "unroll", "mapping"),
    [
        pytest.param("ew", 2, False, None, "pmap", marks=NIGHTLY_ONLY),
        ("mtra", 2, True, None, "pmap"),
        pytest.param("ew", 4, True, 1, "shard_map", marks=NIGHTLY_ONLY),
        pytest.param("mtra", 4, True, 1, "pmap", marks=NIGHTLY_ONLY),
        pytest.param("mtra", 4, False, None, "shard_map", marks=NIGHTLY_ONLY),
        pytest.param("pcgrad", 2, False, None, "pmap", marks=NIGHTLY_ONLY),
    ],
)
def test_the_step_is_the_same(name, num_devices, one_task, unroll, mapping):
    batch = batch_of(PLANS[one_task], num_devices)
    results = []
    for in_pieces in (False, True):
        made, state = program(
            name,
            num_devices,
            in_pieces=in_pieces,
            one_task=one_task,
            unroll=unroll,
            mapping=mapping,
        )
        after, metrics = made(state, batch)
        results.append(to_host((after.optimiser, metrics, after.params)))
    (expected, expected_metrics, _), (actual, metrics, _) = results
    close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-7)
    jax.tree.map(close, actual, expected)
    jax.tree.map(close, metrics, expected_metrics)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "times"), rest_nightly([("ew", 0), ("mtra", 1)], [("mtra", 1)])
)
def test_every_gradient_is_averaged_once_and_those_of_layers_once_a_pass(name, times):
    """By the bytes of the compiled program's collectives."""
    batch, sizes = batch_of(PLANS[1], 2), {}
    for in_pieces in (False, True):
        made, state = program(name, 2, in_pieces=in_pieces)
        text = made.compiled(state, batch).as_text()
        sizes[in_pieces] = step_costs.collectives(text)["all-reduce"].num_bytes
    leaves = jax.tree.leaves(state.params["encoder"]["layers"])
    layers = sum(4 * leaf.size for leaf in leaves)
    assert sizes[True] - sizes[False] == times * layers


@pytest.mark.parametrize(("in_pieces", "merged"), [(False, True), (True, False)])
def test_the_keys_of_the_configuration_reach_the_encoder(in_pieces, merged):
    overrides = [("gradient_pieces", str(in_pieces)), ("merged_kernels", str(merged))]
    config = configs.load("configs/mtra.py:new_synthetic", overrides)
    benchmark = SYNTHETIC
    model = choices.make_model(config, benchmark, CONFIG)
    assert model.in_pieces is in_pieces
    assert model.encoder.mean_axis == (AXIS if in_pieces else None)
    assert model.encoder.merged is merged
