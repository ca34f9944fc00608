"""Losses of the tasks, and EW's gradient, beside NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax.methods import base, ew, gradients
from mtra_jax.models import heads
from mtra_jax.types import Batch

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")
SIZES = (3, 2, 2, 1, 4)
IS_CLASSIFICATION = (True, False, True, False, True)
STARTS = np.cumsum((0, *SIZES))
SPACE = base.Space(
    NAMES,
    np.repeat(np.arange(5, dtype=np.int32), SIZES),
    np.array(IS_CLASSIFICATION),
    (10, 20, 30, 40, 50),
)
NUM_SLOTS = sum(SIZES)
HIDDEN = 4
# Everything is in float64: what is left are roundings of a few dozen operations.
RTOL = 1e-12


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def own_slots(task):
    return slice(STARTS[task], STARTS[task + 1])


def make_batch(tasks, seed=0):
    """Texts of one token each; a task of -1 is padding with the arrays of a real batch."""
    rng = np.random.default_rng(seed)
    tasks = np.asarray(tasks)
    size = len(tasks)
    targets = np.zeros((size, NUM_SLOTS))
    for row, task in enumerate(tasks):
        if task < 0:
            continue
        width = SIZES[task]
        if IS_CLASSIFICATION[task]:
            targets[row, own_slots(task)] = np.eye(width)[rng.integers(width)]
        else:
            targets[row, own_slots(task)] = 2 * rng.normal(size=width)
    return Batch(
        tokens=np.arange(size, dtype=np.int32)[None],
        segments=np.ones((1, size), np.int32),
        positions=np.zeros((1, size), np.int32),
        first_tokens=np.arange(size, dtype=np.int32),
        where=tasks >= 0,
        tasks=np.maximum(tasks, 0).astype(np.int32),
        targets=targets,
        partners=np.arange(size, dtype=np.int32),
    )


def draw_outputs(size, seed=1):
    return 3 * np.random.default_rng(seed).normal(size=(size, NUM_SLOTS)) + 1


def loss_and_gradient(outputs, batch):
    """[T] and d loss[t] / d outputs [T, B, L], row by row from the definitions."""
    losses, grads = np.zeros(5), np.zeros((5, *outputs.shape))
    for task in range(5):
        rows = [
            r for r in range(len(outputs)) if batch.where[r] and batch.tasks[r] == task
        ]
        own = own_slots(task)
        for row in rows:
            found, wanted = outputs[row, own], batch.targets[row, own]
            if IS_CLASSIFICATION[task]:
                log_total = np.logaddexp.reduce(found)
                losses[task] -= np.sum(wanted * (found - log_total)) / len(rows)
                grads[task, row, own] = (np.exp(found - log_total) - wanted) / len(rows)
            else:
                share = len(rows) * SIZES[task]
                losses[task] += np.sum((found - wanted) ** 2) / share
                grads[task, row, own] = 2 * (found - wanted) / share
    return losses, grads


MIXTURE = [0, 3, 1, -1, 2, 0, 1, 1, -1, 3, 3, 2, 0, 1, 0, -1]
MIXTURES = {
    "mixture": MIXTURE,
    **{
        name: [task, task, -1, task, task, -1, task, -1, *[-1] * 8]
        for task, name in enumerate(NAMES)
    },
    "one_text": [-1, 2, *[-1] * 14],
    "nothing": [-1] * 16,
}


@jax.jit
def losses_and_jacobian(outputs, batch):
    def losses_of(outputs):
        losses = base.task_losses(SPACE, outputs, batch, None)
        return losses, losses

    jacobian, losses = jax.jacrev(losses_of, has_aux=True)(outputs)
    return losses, jacobian


@pytest.mark.parametrize("name", MIXTURES)
def test_losses_of_any_mixture(name):
    batch = make_batch(MIXTURES[name])
    outputs = draw_outputs(16)
    losses, jacobian = losses_and_jacobian(outputs, batch)
    expected, expected_jacobian = loss_and_gradient(outputs, batch)
    np.testing.assert_allclose(losses, expected, rtol=RTOL)
    np.testing.assert_allclose(jacobian, expected_jacobian, rtol=1e-10, atol=1e-15)
    # Zero, not small: in other tasks' slots, padding rows and absent tasks.
    assert not np.any(np.asarray(jacobian)[expected_jacobian == 0])
    absent = [task not in MIXTURES[name] for task in range(5)]
    assert not np.any(np.asarray(losses)[absent])


def test_padding_rows_and_other_slots_change_nothing():
    batch = make_batch(MIXTURE)
    outputs = draw_outputs(16)
    expected = losses_and_jacobian(outputs, batch)
    other = ~(SPACE.slot_tasks == batch.tasks[:, None]) | ~batch.where[:, None]
    disturbed = batch._replace(
        targets=np.where(batch.where[:, None], batch.targets, 7.0),
        tasks=np.where(batch.where, batch.tasks, 3).astype(np.int32),
    )
    found = losses_and_jacobian(np.where(other, 1e9, outputs), disturbed)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_extreme_outputs_give_finite_losses_and_gradients(sign):
    with jax.enable_x64(False):
        batch = make_batch(MIXTURE)
        batch = batch._replace(targets=batch.targets.astype(np.float32))
        outputs = sign * np.where(batch.targets > 0, -5e3, 5e3).astype(np.float32)
        losses, jacobian = losses_and_jacobian(outputs, batch)
    assert losses.dtype == np.float32
    assert np.isfinite(losses).all()
    assert np.isfinite(jacobian).all()
    # The right class at 5000 below the others, or above them.
    wrong = [1e4 + np.log(2), 1e4 + np.log(1)]
    expected = wrong if sign == 1 else [0, 0]
    np.testing.assert_allclose([losses[0], losses[2]], expected, rtol=1e-6)


def test_members_and_present_tasks():
    batch = make_batch(MIXTURE)
    expected = np.array([[task == t for task in MIXTURE] for t in range(5)])
    np.testing.assert_array_equal(base.members(batch, 5), expected)
    np.testing.assert_array_equal(
        base.present_tasks(batch, 5, None), [True, True, True, True, False]
    )
    nothing = make_batch(MIXTURES["nothing"])
    assert not base.present_tasks(nothing, 5, None).any()


def test_mean_per_task():
    batch = make_batch(MIXTURE)
    values = np.random.default_rng(2).normal(size=16)
    tasks = np.array(MIXTURE)
    expected = [values[tasks == task].mean() for task in range(4)] + [0]
    found = base.mean_per_task(np.where(batch.where, values, np.nan), batch, 5, None)
    np.testing.assert_allclose(found, expected, rtol=RTOL)


def test_sizes_of_the_space():
    assert SPACE.num_tasks == 5
    np.testing.assert_array_equal(SPACE.num_outputs, SIZES)


def shard(batch, num_devices):
    """Position p of the planned batch is row p // D of device p % D."""
    return Batch(
        *(
            np.stack([x[device::num_devices] for device in range(num_devices)])
            for x in batch._replace(
                tokens=batch.tokens[0], segments=batch.segments[0]
            )._replace(positions=batch.positions[0])
        )
    )


def test_devices_together_see_the_planned_batch():
    """Losses, present tasks and the order of gathered rows, of unequal shares."""
    tasks = [4, -1, 0, 1, -1, -1, 0, 1, -1, -1, 3, 1, -1, -1, 3, 1]
    batch = make_batch(tasks)
    outputs = draw_outputs(16)

    def both(outputs, batch):
        losses = base.task_losses(SPACE, outputs, batch, "data")
        present = base.present_tasks(batch, 5, "data")
        gathered = base.gather(outputs, "data")
        return losses, present, gathered, base.gather(batch.tasks, "data")

    program = jax.pmap(both, axis_name="data", out_axes=None, devices=jax.devices()[:4])
    shards = np.stack([outputs[device::4] for device in range(4)])
    losses, present, gathered, gathered_tasks = program(shards, shard(batch, 4))
    expected, _ = loss_and_gradient(outputs, batch)
    np.testing.assert_allclose(losses, expected, rtol=RTOL)
    np.testing.assert_array_equal(present, [True, True, False, True, True])
    np.testing.assert_array_equal(gathered, outputs)
    np.testing.assert_array_equal(gathered_tasks, np.maximum(tasks, 0))


def test_gathering_on_one_device_changes_nothing():
    rows = draw_outputs(3)
    assert base.gather(rows, None) is rows


class Table:
    """Stands for an encoder: the hidden state of a token is its row, no more."""

    def __init__(self):
        self.calls = []

    def apply(
        self, variables, tokens, segments, positions, wanted, *, deterministic, rngs
    ):
        assert tokens.shape == segments.shape == positions.shape
        self.calls.append((deterministic, rngs))
        table = variables["params"]["embeddings"]["word_embeddings"]["embedding"]
        return table[tokens.reshape(-1)[wanted]]


def make_model(dropout=0.0):
    sizes = tuple(zip(NAMES, SIZES, strict=True))
    return base.Model(Table(), heads.Heads(sizes, dropout), SPACE, HIDDEN)


def make_params(size=16):
    rng = np.random.default_rng(3)
    layers = {
        name: {"kernel": rng.normal(size=(HIDDEN, d)), "bias": rng.normal(size=d)}
        for name, d in zip(NAMES, SIZES, strict=True)
    }
    embeddings = {"word_embeddings": {"embedding": rng.normal(size=(size, HIDDEN))}}
    return {"encoder": {"embeddings": embeddings}, "heads": layers, "method": {}}


def predict(params, batch):
    """z [B, H] and outputs [B, L]."""
    table = params["encoder"]["embeddings"]["word_embeddings"]["embedding"]
    z = table[batch.tokens[0][batch.first_tokens]]
    columns = [
        np.maximum(z, 0) @ layer["kernel"] + layer["bias"]
        for layer in params["heads"].values()
    ]
    return z, np.concatenate(columns, axis=1)


def test_plain_losses_are_those_of_the_first_tokens():
    model, params = make_model(), make_params()
    batch = make_batch(MIXTURE)
    # Two rows of tokens, and texts that start anywhere in them.
    order = np.random.default_rng(4).permutation(16).astype(np.int32)
    tokens = np.argsort(order).astype(np.int32)
    batch = batch._replace(
        tokens=tokens.reshape(2, 8),
        segments=np.ones((2, 8), np.int32),
        positions=np.zeros((2, 8), np.int32),
        first_tokens=order,
    )
    losses_fn = jax.jit(lambda *args: base.plain_losses(model, *args, None, None))
    seen = losses_fn(params, batch)
    plain = make_batch(MIXTURE)
    _, outputs = predict(params, plain)
    expected, _ = loss_and_gradient(outputs, plain)
    np.testing.assert_allclose(seen.outputs, outputs, rtol=RTOL)
    np.testing.assert_allclose(seen.losses, expected, rtol=RTOL)
    assert seen.terms.keys() == {"task"}
    np.testing.assert_array_equal(seen.terms["task"], seen.losses)


def test_dropout_takes_a_key_in_training_only():
    model, params = make_model(dropout=0.5), make_params()
    batch = make_batch(MIXTURE)
    z, outputs = base.represent_and_predict(model, params, batch, None)
    assert model.encoder.calls == [(True, {})]
    np.testing.assert_allclose(outputs, predict(params, batch)[1], rtol=RTOL)

    rngs = {"method": jax.random.key(0), "dropout": jax.random.key(1)}
    _, dropped = base.represent_and_predict(model, params, batch, rngs)
    deterministic, encoder_rngs = model.encoder.calls[1]
    assert not deterministic
    assert not np.allclose(dropped, outputs)
    # The heads' own key, and not the encoder's: their masks must not be related.
    keys = jax.random.split(rngs["dropout"])
    assert encoder_rngs.keys() == {"dropout"}
    assert encoder_rngs["dropout"] == keys[0]
    np.testing.assert_array_equal(dropped, model.predict(params, z, keys[1]))


@pytest.mark.parametrize("name", ["mixture", "beta"])
def test_ew_takes_the_mean_over_all_tasks(name):
    """Weight 1/T for the tasks of the step, whether it holds one or all."""
    model, params = make_model(), make_params()
    method = ew.make(model)
    assert method.init(jax.random.key(0)) == {}
    batch = make_batch(MIXTURES[name])
    rngs = {"method": jax.random.key(0), "dropout": jax.random.key(1)}
    differentiate = jax.jit(
        lambda params, batch: gradients.differentiate(
            method, model, params, batch, rngs, (), one_task=False, axis_name=None
        )
    )
    seen = differentiate(params, batch)
    z, outputs = predict(params, batch)
    losses, grads = loss_and_gradient(outputs, batch)
    present = np.isin(np.arange(5), MIXTURES[name])
    np.testing.assert_allclose(seen.losses, losses, rtol=RTOL)
    np.testing.assert_allclose(seen.terms["task"], losses, rtol=RTOL)
    np.testing.assert_allclose(seen.objective, losses.sum() / 5, rtol=RTOL)
    np.testing.assert_allclose(seen.weights, present / 5, rtol=RTOL)
    assert seen.scalars == {}
    assert seen.state == ()

    grad = grads.sum(axis=0) / 5
    for task, task_name in enumerate(NAMES):
        found = seen.gradient["heads"][task_name]
        own = grad[:, own_slots(task)]
        expected = np.maximum(z, 0).T @ own
        np.testing.assert_allclose(found["kernel"], expected, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(found["bias"], own.sum(0), rtol=1e-10, atol=1e-14)
    kernel = np.concatenate([x["kernel"] for x in params["heads"].values()], axis=1)
    expected = np.where(z > 0, grad @ kernel.T, 0)
    table = seen.gradient["encoder"]["embeddings"]["word_embeddings"]["embedding"]
    np.testing.assert_allclose(table, expected, rtol=1e-10, atol=1e-14)
    assert seen.gradient["method"] == {}


def test_a_task_without_texts_counts_nothing_in_ew():
    """Not even where its loss is no number."""
    objective = ew.make(make_model()).gradient.objective
    losses = jnp.array([1.0, jnp.nan, 5.0])
    value, state = objective({}, losses, jnp.array([True, False, True]), "state", None)
    assert value == 2.0
    assert state == "state"
