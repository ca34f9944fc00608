"""Keys of a step; the step on several devices: compilations, memory, passes."""

import functools

import compilations
import jax
import numpy as np
import optax
import pytest
from jax.extend import core

from mtra_jax.data.packed import batches, shapes
from mtra_jax.data.tokenizing.tokens import Tokens
from mtra_jax.methods import registry
from mtra_jax.methods.model import Model, Space
from mtra_jax.models import encoder, heads, pretrained
from mtra_jax.train import optimiser, step
from mtra_jax.train.devices import AXIS, Program, to_host

TASKS = ("stance", "mood", "irony")
SIZES = (3, 2, 2)
SPACE = Space(
    TASKS,
    np.repeat(np.arange(3, dtype=np.int32), SIZES),
    np.array([True, False, True]),
    (6, 6, 6),
)
NUM_EXAMPLES, BATCH_SIZE = 18, 8
HIDDEN = 8
# Differs from all other sizes, so that it identifies the feed-forward products.
INTERMEDIATE = 20


def make_corpus():
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, size=NUM_EXAMPLES)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(1, 30, size=offsets[-1]).astype(np.int32)
    tasks = np.repeat(np.arange(3, dtype=np.int32), 6)
    targets = np.zeros((NUM_EXAMPLES, sum(SIZES)), np.float32)
    for row, task in enumerate(tasks):
        if task == 1:
            targets[row, 3:5] = rng.normal(size=2)
        else:
            width, start = (3, 0) if task == 0 else (2, 5)
            targets[row, start + row % width] = 1
    return batches.Corpus(Tokens(ids, offsets), tasks, targets, (6, 6, 6))


def make_batches(num_devices, plan):
    """Planned batches of one shape, [D, ...]; -1 marks an empty place."""
    corpus = make_corpus()
    plan = np.array(plan)
    shape = shapes.covering(shapes.needed(corpus, plan, num_devices))
    batcher = batches.Batcher(
        corpus, [shape], num_devices=num_devices, local_devices=range(num_devices)
    )
    return list(batcher.batches(plan))


# Several tasks with an empty place, one task alone, two tasks on few devices.
PLAN = [
    [0, 6, 12, 1, 7, -1, 13, 2],
    [8, 9, 10, -1, 11, 6, -1, 7],
    [14, 3, -1, -1, -1, -1, 4, -1],
]


def make_config(dropout=0.0):
    return encoder.EncoderConfig(
        vocab_size=30,
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=INTERMEDIATE,
        max_position_embeddings=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )


@functools.cache
def encoder_params():
    return pretrained.init_encoder(make_config(), jax.random.key(0))


def make_parts(name, dropout=0.0, **options):
    """Returns model, method, optimiser and the first state on the host."""
    config = make_config(dropout)
    outputs = tuple(zip(TASKS, SIZES, strict=True))
    model = Model(encoder.Encoder(config), heads.Heads(outputs, dropout), SPACE, HIDDEN)
    method = registry.make(name, model, **options)
    rng = np.random.default_rng(1)
    params = {
        "encoder": encoder_params(),
        "heads": {
            task: {
                "kernel": rng.normal(size=(HIDDEN, d)).astype(np.float32),
                "bias": np.zeros(d, np.float32),
            }
            for task, d in outputs
        },
        # Zeros suffice: EW has none, and the step of MTRA is only traced here.
        "method": jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(method.init, jax.random.key(1)),
        ),
    }
    optimise = optimiser.make(optax.constant_schedule(1e-2), TASKS)
    state = to_host(step.init_state(method, optimise, params, jax.random.key(2)))
    return model, method, optimise, state


def make_update(parts, one_task=False, axis_name=AXIS):
    _, method, optimise, _ = parts
    return step.make_update(
        method,
        optimise,
        tasks=TASKS,
        one_task=one_task,
        axis_name=axis_name,
    )


@pytest.fixture(scope="module")
def ew():
    return make_parts("ew")


def test_keys_agree_or_differ_between_devices():
    root = jax.random.key(0)

    def keys(at):
        rngs = step.step_rngs(root, at, "data")
        assert rngs.keys() == {"method", "dropout"}
        return {name: jax.random.key_data(key) for name, key in rngs.items()}

    program = jax.pmap(keys, axis_name="data", devices=jax.devices()[:4])
    at_0, at_1 = (program(np.full(4, at, np.int32)) for at in (0, 1))
    # Axes: step, device, the two words of a key.
    method, dropout = (
        np.stack([at_0[name], at_1[name]]) for name in ("method", "dropout")
    )
    for at in range(2):
        np.testing.assert_array_equal(method[at], np.tile(method[at, :1], (4, 1)))
    assert np.any(method[0] != method[1])
    every = np.concatenate([method[:, 0], dropout.reshape(-1, 2)])
    assert len(np.unique(every, axis=0)) == 2 + 8
    # A run on one device without an axis has the same key of the method.
    alone = step.step_rngs(root, np.int32(1), None)
    np.testing.assert_array_equal(jax.random.key_data(alone["method"]), method[1, 0])


def test_the_first_state(ew):
    *_, optimise, state = ew
    assert state.step == 0
    assert state.step.dtype == np.int32
    assert state.method == ()
    jax.tree.map(
        np.testing.assert_array_equal, state.optimiser, optimise.init(state.params)
    )


class Trained:
    """Three steps: states and metrics on the host, compilations, donated arrays."""

    def __init__(self, parts, num_devices):
        devices = jax.devices()[:num_devices]
        update = make_update(parts)
        program = Program(update, devices, donate_first=True)
        state, self.states, self.metrics, self.deleted = parts[-1], [], [], []
        self.compilations = []
        for batch in make_batches(num_devices, PLAN):
            before = state
            with compilations.counted() as count:
                state, metrics = program(state, batch)
            self.compilations.append(len(count))
            if self.states:
                self.deleted += [x.is_deleted() for x in jax.tree.leaves(before)]
            self.states.append(to_host(state))
            self.metrics.append(to_host(metrics))


@pytest.fixture(scope="module")
def one_device(ew):
    return Trained(ew, 1)


@pytest.fixture(scope="module")
def four_devices(ew):
    return Trained(ew, 4)


@pytest.mark.slow
def test_four_devices_equal_one(one_device, four_devices):
    for actual, expected in zip(four_devices.metrics, one_device.metrics, strict=True):
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-5),
            actual,
            expected,
        )
    # Absolute, because a step is 0.01 long and some gradients are only rounding.
    for actual, expected in zip(four_devices.states, one_device.states, strict=True):
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(got, want, rtol=0, atol=1e-5),
            actual.params,
            expected.params,
        )


def test_metrics_of_a_step(ew, one_device):
    present = [[True, True, True], [False, True, False], [True, False, True]]
    params = ew[-1].params
    for metrics, state, expected in zip(
        one_device.metrics, one_device.states, present, strict=True
    ):
        np.testing.assert_array_equal(metrics["present"], expected)
        np.testing.assert_array_equal(metrics["losses"] > 0, expected)
        np.testing.assert_allclose(metrics["weights"], np.array(expected) / 3)
        np.testing.assert_allclose(
            metrics["objective"], metrics["losses"].sum() / 3, rtol=1e-6
        )
        updates = jax.tree.map(np.subtract, state.params, params)
        for name, tree in {"params": state.params, "updates": updates}.items():
            leaves = [np.float64(leaf) for leaf in jax.tree.leaves(tree)]
            norm = np.sqrt(sum(np.sum(leaf**2) for leaf in leaves))
            actual = metrics["scalars"][f"norm/{name}"]
            np.testing.assert_allclose(actual, norm, rtol=1e-4)
        assert metrics["scalars"]["norm/grads"] > 0
        params = state.params
    assert [state.step for state in one_device.states] == [1, 2, 3]


def test_heads_of_absent_tasks_do_not_change(ew, one_device):
    states = [ew[-1], *one_device.states]
    for before, after, metrics in zip(
        states, states[1:], one_device.metrics, strict=False
    ):
        for task, is_present in zip(TASKS, metrics["present"], strict=True):
            old, new = before.params["heads"][task], after.params["heads"][task]
            is_same = [np.array_equal(old[name], new[name]) for name in old]
            assert is_same == [not is_present] * 2


def test_batches_of_one_shape_compile_once(one_device, four_devices):
    """Even if the first state comes from the host and the next from the step."""
    assert one_device.compilations == [1, 0, 0]
    assert four_devices.compilations == [1, 0, 0]


def test_the_old_state_is_donated(one_device, four_devices):
    for trained in (one_device, four_devices):
        assert all(trained.deleted)
        assert len(trained.deleted) > 20


def test_dropout_is_drawn_anew_each_step():
    parts = make_parts("ew", dropout=0.3)
    state = parts[-1]
    (batch,) = make_batches(1, PLAN[:1])
    batch = jax.tree.map(lambda x: x[0], batch)
    update = make_update(parts, axis_name=None)
    # Only the losses, so that the backward pass is not compiled.
    losses_of = jax.jit(lambda state: update(state, batch)[1]["losses"])
    at_0, again, at_1 = (
        losses_of(state._replace(step=np.int32(at))) for at in (0, 0, 1)
    )
    np.testing.assert_array_equal(at_0, again)
    assert np.all(at_0 != at_1)


def count_feed_forward(jaxpr):
    """Matrix products with the intermediate width, also those in inner programs."""
    count = 0
    for equation in jaxpr.eqns:
        shapes = [v.aval.shape for v in (*equation.invars, *equation.outvars)]
        if equation.primitive.name == "dot_general":
            count += any(INTERMEDIATE in shape for shape in shapes)
        for inner in core.jaxprs_in_params(equation.params):
            count += count_feed_forward(inner)
    return count


@pytest.mark.parametrize(
    ("name", "options", "one_task", "expected"),
    [
        # Two products forward; backward two for each, by input and by weights.
        ("ew", {}, True, 6),
        ("ew", {}, False, 6),
        ("mtra", {"self_alignment": False}, True, 6),
        ("mtra", {}, True, 12),
        ("mtra", {"task_alignment": False, "logarithm": False}, True, 12),
        # A third backward pass, because weights depend on the second forward pass.
        ("mtra", {}, False, 16),
    ],
)
def test_passes_through_the_encoder(name, options, one_task, expected):
    parts = make_parts(name, **options)
    (batch,) = make_batches(1, PLAN[1:2])
    batch = jax.tree.map(lambda x: x[0], batch)
    update = make_update(parts, one_task=one_task, axis_name=None)
    traced = jax.make_jaxpr(update)(parts[-1], batch)
    assert count_feed_forward(traced.jaxpr) == expected


@pytest.mark.parametrize("num_devices", [1, 4])
def test_forward_gives_the_outputs_in_planned_order(ew, num_devices):
    """Against one text per row, without packing and devices."""
    model, method, _, state = ew
    forward = step.make_forward(method, axis_name=AXIS)
    devices = jax.devices()[:num_devices]
    program = Program(forward, devices, donate_first=False)
    plan = [PLAN[0], PLAN[2]]
    for row, batch in zip(plan, make_batches(num_devices, plan), strict=True):
        outputs, measured = program(state.params, batch)
        row = np.array(row)
        assert outputs.shape == (BATCH_SIZE, 7)
        expected = outputs_of_texts(model, state.params)[row[row >= 0]]
        np.testing.assert_allclose(
            np.asarray(outputs)[row >= 0], expected, rtol=1e-5, atol=1e-5
        )
        assert measured["terms"].keys() == {"task"}
        tasks = np.unique(row[row >= 0] // 6)
        np.testing.assert_array_equal(np.flatnonzero(measured["losses"]), tasks)


def outputs_of_texts(model, params):
    """Outputs [N, L] of all texts, each in a separate row."""
    corpus = make_corpus()
    length = np.diff(corpus.tokens.offsets).max()
    rows = np.zeros((3, NUM_EXAMPLES, length), np.int32)
    for text in range(NUM_EXAMPLES):
        ids = corpus.tokens.ids[slice(*corpus.tokens.offsets[text : text + 2])]
        rows[0, text, : len(ids)] = ids
        rows[1, text, : len(ids)] = 1
        rows[2, text, : len(ids)] = np.arange(len(ids))
    hidden = jax.jit(functools.partial(model.encoder.apply, deterministic=True))(
        {"params": params["encoder"]}, *rows
    )
    return np.asarray(model.predict(params, hidden[:, 0], None))
