"""Tasks of three kinds in one batch: losses, class weights, smoothing, every method."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys
from tiers import NIGHTLY_ONLY

from mtra_jax import objectives
from mtra_jax.methods import alignment, registry, task_losses
from mtra_jax.methods.model import Model, Space
from mtra_jax.models import heads
from mtra_jax.train import step

NAMES, SIZES = ("classes", "values", "labels"), (3, 2, 4)
STARTS = np.cumsum((0, *SIZES))
SLOT_TASKS = np.repeat(np.arange(3, dtype=np.int32), SIZES)
IS_CLASSIFICATION = np.array([True, False, False])
IS_MULTI_LABEL = np.array([False, False, True])
CLASS_WEIGHTS = np.array([0.5, 2.0, 3.0, 1, 1, 1, 1, 1, 1])
SMOOTHING = np.array([0.1, 0, 0])
PLAIN = Space(NAMES, SLOT_TASKS, IS_CLASSIFICATION, (10, 20, 30))
SPACE = PLAIN._replace(
    is_multi_label=IS_MULTI_LABEL,
    class_weights=CLASS_WEIGHTS,
    label_smoothing=SMOOTHING,
)
MIXTURE = (0, 2, 1, -1, 2, 0, 1, 0, -1, 2, 1, 2, 0, 1, 0, 2)
# The others take seconds to compile.
QUICK = ("ew", "pcgrad", "mtra")
# One for each kind of state and of what is read; other balancers have the same losses.
BALANCERS = (
    *("famo", "gradnorm", "gradvac", "cagrad"),
    *("graddrop", "excess_mtl", "samo"),
)


def marks_of(name):
    if name in QUICK:
        return []
    is_kept = registry.METHODS[name].in_papers or name in BALANCERS
    return pytest.mark.slow if is_kept else NIGHTLY_ONLY


def make_batch(mixture=MIXTURE, seed=0):
    """A batch of `toys` with one-hot targets, values and multi-hot targets."""
    rng = np.random.default_rng(seed)
    tasks, size = np.array(mixture), len(mixture)
    targets = np.zeros((size, STARTS[-1]))
    for task, width in enumerate(SIZES):
        rows = np.flatnonzero(tasks == task)
        drawn = (
            np.eye(width)[rng.integers(width, size=len(rows))],
            rng.normal(size=(len(rows), width)),
            rng.integers(2, size=(len(rows), width)),
        )[task]
        targets[rows, STARTS[task] : STARTS[task + 1]] = drawn
    batch = toys.Toy().batch(mixture, seed=seed)
    # Each text is a segment, so that filters do not read its neighbours.
    segments = np.arange(1, size + 1, dtype=np.int32)[None, None]
    return batch._replace(targets=targets, segments=segments)


def of_kind(kind, outputs, batch):
    """The outputs and targets of the texts of task `kind`, in its slots."""
    rows = np.flatnonzero(batch.where & (np.array(MIXTURE) == kind))
    own = slice(STARTS[kind], STARTS[kind + 1])
    return rows, own, outputs[rows, own], batch.targets[rows, own]


@pytest.mark.torch
@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_losses_and_gradients_of_all_kinds_equal_pytorch(num_devices):
    torch = pytest.importorskip("torch")
    outputs, batch = 2 * np.random.default_rng(1).normal(size=(16, 9)), make_batch()
    losses, gradients = np.zeros(3), np.zeros((3, 16, 9))
    functions = (
        torch.nn.CrossEntropyLoss(torch.tensor(CLASS_WEIGHTS[:3]), label_smoothing=0.1),
        torch.nn.MSELoss(),
        torch.nn.BCEWithLogitsLoss(),
    )
    for kind, function in enumerate(functions):
        rows, own, predicted, wanted = of_kind(kind, outputs, batch)
        predicted = torch.tensor(predicted, requires_grad=True)
        wanted = wanted.argmax(axis=1) if kind == 0 else wanted
        value = function(predicted, torch.tensor(wanted))
        value.backward()
        losses[kind] = value.item()
        gradients[kind, rows, own] = predicted.grad.numpy()

    def on_device(outputs, batch):
        batch = batch._replace(tasks=batch.tasks[0], targets=batch.targets[0])
        batch = batch._replace(where=batch.where[0])

        def of(outputs):
            values = task_losses.of_outputs(SPACE, outputs, batch, "data")
            return values, values

        jacobian, values = jax.jacrev(of, has_aux=True)(outputs)
        return values, jacobian

    with jax.enable_x64(True):
        shards = toys.shards(batch, num_devices)
        split = np.stack([outputs[d::num_devices] for d in range(num_devices)])
        devices = jax.devices()[:num_devices]
        values, jacobians = jax.pmap(on_device, "data", devices=devices)(split, shards)
    for value in np.asarray(values):
        np.testing.assert_allclose(value, losses, rtol=1e-12)
    # A loss is one number on all devices; the gradient of their sum is that many times its.
    for device, jacobian in enumerate(np.asarray(jacobians) / num_devices):
        expected = gradients[:, device::num_devices]
        np.testing.assert_allclose(jacobian, expected, rtol=1e-10, atol=1e-15)
        assert not jacobian[expected == 0].any()


def test_without_the_new_options_the_program_is_the_old_one():
    def old(outputs, batch):
        own = jnp.asarray(SLOT_TASKS) == batch.tasks[:, None]
        targets = jnp.asarray(batch.targets)
        entropies = objectives.cross_entropy_terms(outputs, targets, own)
        errors = objectives.squared_error_terms(outputs, targets, own)
        is_classification = jnp.asarray(IS_CLASSIFICATION)[batch.tasks]
        rows = jnp.where(is_classification, entropies, errors)
        return task_losses.mean(rows, batch, 3, None)

    def new(space):
        return lambda outputs, batch: task_losses.of_outputs(
            space, outputs, batch, None
        )

    def text(function):
        return str(jax.make_jaxpr(function)(np.zeros((16, 9)), make_batch()))

    assert text(new(PLAIN)) == text(old)
    assert text(new(SPACE)) != text(old)


@pytest.mark.parametrize("sign", [1, -1])
def test_extreme_outputs_give_finite_losses_and_gradients(sign):
    batch = make_batch()
    outputs = sign * np.where(batch.targets > 0, -1e4, 1e4).astype(np.float32)

    def of(outputs):
        return task_losses.of_outputs(SPACE, outputs, batch, None)

    assert np.isfinite(of(outputs)).all()
    assert np.isfinite(jax.jit(jax.jacrev(of))(outputs)).all()


def test_a_batch_without_weight_has_the_loss_zero():
    batch = make_batch((-1,) * 16)
    losses = task_losses.of_outputs(SPACE, np.ones((16, 9)), batch, None)
    np.testing.assert_array_equal(losses, 0)


@pytest.mark.parametrize("name", ["uw", "mt_vib"])
def test_uncertainty_takes_the_binary_cross_entropy_for_a_cross_entropy(name):
    method = registry.make(name, make_model())
    params = method.init(jax.random.key(0))
    losses, present = jnp.array([3.0, 5.0, 7.0]), jnp.ones(3, bool)
    value, _ = toys.objective_of(method, NAMES)(params, losses, present, (), None)
    assert value == 3 + 5 / 2 + 7


def test_the_bound_reads_unsmoothed_classes_and_sets_of_labels():
    """MINE's y is the row of targets as it is."""
    batch, read = make_batch(), []
    batch = batch._replace(targets=batch.targets.astype(np.float32))

    def score(z, y):
        read.append(np.asarray(y))
        return jnp.sum(z, axis=-1)

    z = jnp.ones((16, toys.HIDDEN))
    alignment.bound_per_task(score, z, batch, 3, alignment.Estimate(), None)
    np.testing.assert_array_equal(read[0], batch.targets)
    np.testing.assert_array_equal(read[1], batch.targets[batch.partners])
    assert set(np.unique(batch.targets[:, STARTS[2] :])) == {0, 1}


# ---- every method


def make_model():
    outputs = tuple(zip(NAMES, SIZES, strict=True))
    return Model(toys.Table(), heads.Heads(outputs), SPACE, toys.HIDDEN)


def first_params(model, method):
    rng = np.random.default_rng(3)
    table = rng.normal(size=(toys.VOCABULARY, toys.HIDDEN)).astype(np.float32)
    z = jnp.zeros((1, method.num_features or toys.HIDDEN))
    layers = model.heads.init(jax.random.key(1), z, deterministic=True)["params"]
    return {
        "encoder": {"embeddings": {"word_embeddings": {"embedding": table}}},
        "heads": layers,
        "method": method.init(jax.random.key(0)),
    }


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=marks_of(name)) for name in registry.METHODS],
)
def test_every_method_learns_tasks_of_all_kinds(name):
    model = make_model()
    method = registry.make(name, model)
    optimise = optax.with_extra_args_support(optax.adam(2e-2))
    update = jax.jit(step.make_update(method, optimise, tasks=NAMES, one_task=False))
    params = first_params(model, method)
    state = step.init_state(method, optimise, params, jax.random.key(2))
    batch = jax.tree.map(lambda x: jnp.asarray(x)[None], make_batch())
    losses = []
    for _ in range(60):
        state, measured = update(state, batch)
        assert measured["scalars"]["bad_steps"] == 0
        losses.append(np.asarray(measured["terms"]["task"]))
    first, last = np.mean(losses[:5], axis=0), np.mean(losses[-5:], axis=0)
    assert (last < 0.95 * first).all(), (first, last)
