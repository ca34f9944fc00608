"""Steps on devices that hold different numbers of a task's rows, against one device.

The losses are those of the global batch, as the functions of `objectives` give them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import balancing, objectives

NUM_DEVICES, NUM_TASKS, ROWS, WIDTH, CLASSES = 4, 2, 5, 4, 3
AXIS = "data"


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def make_batch():
    """Rows [D, T, B, F], labels [D, T, B, C], and which rows are there [D, T, B]."""
    rng = np.random.default_rng(0)
    shape = NUM_DEVICES, NUM_TASKS, ROWS
    where = rng.random(shape) < 0.5
    where[0] = True
    where[1, 0] = False
    labels = np.eye(CLASSES)[rng.integers(CLASSES, size=shape)]
    return rng.normal(size=(*shape, WIDTH)), labels, where


def make_params():
    rng = np.random.default_rng(1)
    heads = [rng.normal(size=(WIDTH, CLASSES)) for _ in range(NUM_TASKS)]
    return {"shared": rng.normal(size=(WIDTH, WIDTH)), "heads": heads}


def represent(params, x, labels, where):
    return jnp.tanh(x @ params["shared"])


def make_losses(axis_name):
    def losses_of_z(params, z, x, labels, where):
        return jnp.stack(
            [
                objectives.cross_entropy(
                    z[task] @ params["heads"][task],
                    labels[task],
                    where=where[task],
                    axis_name=axis_name,
                )
                for task in range(NUM_TASKS)
            ]
        )

    def losses(params, *batch):
        return losses_of_z(params, represent(params, *batch), *batch)

    return losses, losses_of_z


def on_one_device(function):
    """`function(params, *batch)` of all rows."""
    batch = [np.moveaxis(array, 0, 1) for array in make_batch()]
    rows = [array.reshape(NUM_TASKS, -1, *array.shape[3:]) for array in batch]
    return jax.jit(function)(make_params(), *rows)


def on_devices(function, mapping):
    """The same of each device's rows, by `mapping`; the results of the first device."""
    params, batch = make_params(), make_batch()
    if mapping == "pmap":
        mapped = jax.pmap(function, AXIS, in_axes=(None, 0, 0, 0))
        return jax.tree.map(lambda array: array[0], mapped(params, *batch))
    spec = jax.sharding.PartitionSpec
    mapped = jax.shard_map(
        lambda params, *batch: function(params, *(array[0] for array in batch)),
        mesh=jax.sharding.Mesh(np.array(jax.devices()[:NUM_DEVICES]), (AXIS,)),
        in_specs=(spec(), *[spec(AXIS)] * 3),
        out_specs=spec(),
        check_vma=mapping == "checked",
    )
    return jax.jit(mapped)(params, *batch)


def assert_equal(actual, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14),
        actual,
        expected,
    )


MAPPINGS = pytest.mark.parametrize("mapping", [slow("pmap"), slow("plain"), "checked"])


@pytest.mark.usefixtures("float64")
@MAPPINGS
@pytest.mark.parametrize(
    ("name", "with_z"),
    [("ew", False), slow("ew", True), ("upgrad", False), ("upgrad", True)],
)
def test_a_balanced_step_is_that_of_one_device(name, with_z, mapping):
    balancer = getattr(balancing, name)()
    options = {"represent": represent} if with_z else {}

    def make(axis_name):
        step = balancing.value_and_grad(
            make_losses(axis_name)[with_z], balancer, axis_name=axis_name, **options
        )

        def run(params, *batch):
            (value, aux), gradient, _ = step(params, balancer.init(NUM_TASKS), *batch)
            return value, aux.losses, aux.gramian, gradient

        return run

    assert_equal(on_devices(make(AXIS), mapping), on_one_device(make(None)))


@pytest.mark.usefixtures("float64")
@MAPPINGS
def test_a_sharpness_aware_step_is_that_of_one_device(mapping):
    def make(axis_name):
        step = balancing.samo_value_and_grad(
            make_losses(axis_name)[0],
            balancing.ew(),
            owners=lambda params: {"shared": balancing.SHARED, "heads": [0, 1]},
            axis_name=axis_name,
        )

        def run(params, *batch):
            (value, aux), gradient, _ = step(
                params, balancing.State(), *batch, rng=jax.random.key(0)
            )
            return value, aux.losses, gradient

        return run

    assert_equal(on_devices(make(AXIS), mapping), on_one_device(make(None)))


@pytest.mark.usefixtures("float64")
@MAPPINGS
@pytest.mark.parametrize("of_tasks", [False, True], ids=["one loss", "each task"])
def test_an_aligned_step_is_that_of_one_device(of_tasks, mapping):
    def make(axis_name):
        losses = make_losses(axis_name)[0]
        options = {
            "epsilon": 0.1,
            "select": lambda params: {"shared": True, "heads": False},
            "axis_name": axis_name,
        }
        if of_tasks:
            function = objectives.aligned_tasks_value_and_grad(losses, **options)
        else:
            function = objectives.aligned_value_and_grad(
                lambda *args: losses(*args).sum(), **options
            )
        present = [jnp.ones(NUM_TASKS, bool)] if of_tasks else []

        def run(params, *batch):
            (value, aligned), gradient = function(params, *present, *batch)
            return value, aligned, gradient

        return run

    assert_equal(on_devices(make(AXIS), mapping), on_one_device(make(None)))
