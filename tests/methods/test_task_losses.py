"""Task losses, and EW's gradient, against NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys
from toys import objective_of

from mtra_jax.methods import layout, task_losses, weighted
from mtra_jax.models import heads

TOY = toys.Toy()
SPACE, NUM_SLOTS, NAMES, SIZES = TOY.model.space, len(TOY.slots), TOY.names, toys.SIZES
IS_CLASSIFICATION, STARTS = toys.IS_CLASSIFICATION, toys.STARTS
# In float64; the tolerance covers the rounding of a few dozen operations.
RTOL = 1e-12


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def own_slots(task):
    return slice(STARTS[task], STARTS[task + 1])


def make_batch(tasks, seed=0):
    return TOY.batch(tasks, seed=seed)


def draw_outputs(size, seed=1):
    return 3 * np.random.default_rng(seed).normal(size=(size, NUM_SLOTS)) + 1


def loss_and_gradient(outputs, batch):
    """Returns losses [T] and d loss[t] / d outputs [T, B, L], row by row."""
    losses, grads = np.zeros(5), np.zeros((5, *outputs.shape))
    for task in range(5):
        rows = [
            r for r in range(len(outputs)) if batch.where[r] and batch.tasks[r] == task
        ]
        own = own_slots(task)
        for row in rows:
            predicted, wanted = outputs[row, own], batch.targets[row, own]
            if IS_CLASSIFICATION[task]:
                log_total = np.logaddexp.reduce(predicted)
                losses[task] -= np.sum(wanted * (predicted - log_total)) / len(rows)
                grads[task, row, own] = (np.exp(predicted - log_total) - wanted) / len(
                    rows
                )
            else:
                share = len(rows) * SIZES[task]
                losses[task] += np.sum((predicted - wanted) ** 2) / share
                grads[task, row, own] = 2 * (predicted - wanted) / share
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
        losses = task_losses.of_outputs(SPACE, outputs, batch, None)
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
    # Exactly 0 in other tasks' slots, padding rows and absent tasks.
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
    actual = losses_and_jacobian(np.where(other, 1e9, outputs), disturbed)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


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
    # The logit of the right class is 10,000 below or above the others.
    wrong = [1e4 + np.log(2), 1e4 + np.log(1)]
    expected = wrong if sign == 1 else [0, 0]
    np.testing.assert_allclose([losses[0], losses[2]], expected, rtol=1e-6)


def test_members_and_present_tasks():
    batch = make_batch(MIXTURE)
    expected = np.array([[task == t for task in MIXTURE] for t in range(5)])
    np.testing.assert_array_equal(task_losses.members(batch, 5), expected)
    np.testing.assert_array_equal(
        task_losses.present(batch, 5, None), [True, True, True, True, False]
    )
    nothing = make_batch(MIXTURES["nothing"])
    assert not task_losses.present(nothing, 5, None).any()


def test_mean_per_task():
    batch = make_batch(MIXTURE)
    values = np.random.default_rng(2).normal(size=16)
    tasks = np.array(MIXTURE)
    expected = [values[tasks == task].mean() for task in range(4)] + [0]
    actual = task_losses.mean(np.where(batch.where, values, np.nan), batch, 5, None)
    np.testing.assert_allclose(actual, expected, rtol=RTOL)


def test_sizes_of_the_space():
    assert SPACE.num_tasks == 5
    np.testing.assert_array_equal(SPACE.num_outputs, SIZES)


def test_losses_and_gathered_rows_are_those_of_the_planned_batch():
    """On four devices with different numbers of texts of each task."""
    tasks = [4, -1, 0, 1, -1, -1, 0, 1, -1, -1, 3, 1, -1, -1, 3, 1]
    batch = make_batch(tasks)
    outputs = draw_outputs(16)

    def both(outputs, batch):
        batch = layout.only_part(batch)
        losses = task_losses.of_outputs(SPACE, outputs, batch, "data")
        present = task_losses.present(batch, 5, "data")
        gathered = layout.gather(outputs, "data")
        return losses, present, gathered, layout.gather(batch.tasks, "data")

    program = jax.pmap(both, axis_name="data", out_axes=None, devices=jax.devices()[:4])
    shards = np.stack([outputs[device::4] for device in range(4)])
    losses, present, gathered, gathered_tasks = program(shards, TOY.batch(tasks, 4))
    expected, _ = loss_and_gradient(outputs, batch)
    np.testing.assert_allclose(losses, expected, rtol=RTOL)
    np.testing.assert_array_equal(present, [True, True, False, True, True])
    np.testing.assert_array_equal(gathered, outputs)
    np.testing.assert_array_equal(gathered_tasks, np.maximum(tasks, 0))


def test_gathering_on_one_device_changes_nothing():
    rows = draw_outputs(3)
    assert layout.gather(rows, None) is rows


class Listener(toys.Table):
    """A table that records the arguments for dropout of its calls."""

    def __init__(self):
        self.calls = []

    def apply(self, *args, deterministic, rngs):
        self.calls.append((deterministic, rngs))
        return super().apply(*args, deterministic=deterministic, rngs=rngs)


def make_model(dropout=0.0):
    layers = heads.Heads(TOY.model.heads.tasks, dropout)
    return TOY.model._replace(encoder=Listener(), heads=layers)


def make_params():
    return TOY.params("ew")


def embeddings_of(params):
    return params["encoder"]["embeddings"]["word_embeddings"]["embedding"]


def predict(params, batch):
    """z [B, H] and outputs [B, L]."""
    z = embeddings_of(params)[batch.tokens.ravel()[batch.first_tokens[0]]]
    columns = [
        np.maximum(z, 0) @ params["heads"][name]["kernel"]
        + params["heads"][name]["bias"]
        for name in NAMES
    ]
    return z, np.concatenate(columns, axis=1)


def test_plain_losses_are_those_of_the_first_tokens():
    model, params = make_model(), make_params()
    batch = make_batch(MIXTURE)
    # Two rows of tokens, and texts that start anywhere in them.
    order = np.random.default_rng(4).permutation(16).astype(np.int32)
    tokens = batch.tokens.ravel()[np.argsort(order)]
    batch = batch._replace(
        tokens=tokens.reshape(1, 2, 8),
        segments=np.ones((1, 2, 8), np.int32),
        positions=np.zeros((1, 2, 8), np.int32),
        first_tokens=order[None],
    )
    losses_fn = jax.jit(lambda *args: task_losses.plain(model)(*args, None, None))
    result = losses_fn(params, batch)
    plain = make_batch(MIXTURE)
    _, outputs = predict(params, plain)
    expected, _ = loss_and_gradient(outputs, plain)
    np.testing.assert_allclose(result.outputs, outputs, rtol=RTOL)
    np.testing.assert_allclose(result.losses, expected, rtol=RTOL)
    assert result.terms.keys() == {"task"}
    np.testing.assert_array_equal(result.terms["task"], result.losses)


def test_dropout_takes_a_key_in_training_only():
    model, params = make_model(dropout=0.5), make_params()
    batch = make_batch(MIXTURE)
    z, outputs = model.represent_and_predict(params, batch, None)
    assert model.encoder.calls == [(True, {})]
    np.testing.assert_allclose(outputs, predict(params, batch)[1], rtol=RTOL)

    rngs = {"method": jax.random.key(0), "dropout": jax.random.key(1)}
    _, dropped = model.represent_and_predict(params, batch, rngs)
    deterministic, encoder_rngs = model.encoder.calls[1]
    assert not deterministic
    assert not np.allclose(dropped, outputs)
    # The heads' key differs from the encoder's, so that their masks are independent.
    keys = jax.random.split(rngs["dropout"])
    assert encoder_rngs.keys() == {"dropout"}
    assert encoder_rngs["dropout"] == keys[0]
    np.testing.assert_array_equal(dropped, model.predict(params, z, keys[1]))


@pytest.mark.parametrize("name", ["mixture", "beta"])
def test_ew_takes_the_mean_over_all_tasks(name):
    """Each task of the step weighs 1/T, however many tasks it holds."""
    model, params = make_model(), make_params()
    method = weighted.ew(model)
    assert method.init(jax.random.key(0)) == {}
    batch = make_batch(MIXTURES[name])
    rngs = {"method": jax.random.key(0), "dropout": jax.random.key(1)}
    differentiate = jax.jit(
        lambda params, batch: TOY.gradient(method, params, batch, rngs)
    )
    result = differentiate(params, batch)
    z, outputs = predict(params, batch)
    losses, grads = loss_and_gradient(outputs, batch)
    present = np.isin(np.arange(5), MIXTURES[name])
    np.testing.assert_allclose(result.losses, losses, rtol=RTOL)
    np.testing.assert_allclose(result.terms["task"], losses, rtol=RTOL)
    np.testing.assert_allclose(result.objective, losses.sum() / 5, rtol=RTOL)
    np.testing.assert_allclose(result.weights, present / 5, rtol=RTOL)
    assert result.scalars == {}
    assert result.memory == ()

    grad = grads.sum(axis=0) / 5
    for task, task_name in enumerate(NAMES):
        actual = result.grads["heads"][task_name]
        own = grad[:, own_slots(task)]
        expected = np.maximum(z, 0).T @ own
        np.testing.assert_allclose(actual["kernel"], expected, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(actual["bias"], own.sum(0), rtol=1e-10, atol=1e-14)
    kernel = np.concatenate(
        [x["kernel"] for x in map(params["heads"].get, NAMES)], axis=1
    )
    expected = np.where(z > 0, grad @ kernel.T, 0)
    by_table = np.zeros_like(embeddings_of(params))
    np.add.at(by_table, batch.tokens.ravel(), expected)
    table = embeddings_of(result.grads)
    np.testing.assert_allclose(table, by_table, rtol=1e-10, atol=1e-14)
    assert result.grads["method"] == {}


def test_a_task_without_texts_adds_nothing_to_ew():
    """Even if its loss is NaN."""
    objective = objective_of(weighted.ew(make_model()), NAMES)
    losses = jnp.array([1.0, jnp.nan, 5.0])
    value, state = objective({}, losses, jnp.array([True, False, True]), 7, None)
    assert value == 2.0
    assert state == 7
