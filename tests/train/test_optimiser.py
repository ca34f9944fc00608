"""Clipping, Adamax with absent tasks, and warm-up against NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtra_jax.methods import model
from mtra_jax.train import optimiser, resting, schedules

TASKS = ("alpha", "beta")
SHARED, ALPHA, BETA = model.SHARED, "alpha", "beta"
# The tasks present in each step.
PRESENT = [(1, 0), (0, 1), (1, 1), (0, 1), (1, 0), (0, 0), (1, 1)]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def draw_tree(rng):
    """Parameters like `Model`'s, for a method with parameters of each task."""

    def layer(*shape):
        return {"kernel": rng.normal(size=shape), "bias": rng.normal(size=shape[-1])}

    return {
        "encoder": {"layers": layer(3, 4)},
        "heads": {task: layer(4, 2) for task in TASKS},
        "method": {"statistics": layer(4, 3), "tasks": {t: layer(2, 2) for t in TASKS}},
    }


OWNERS = {
    "encoder": {"layers": {"kernel": SHARED, "bias": SHARED}},
    "heads": {task: {"kernel": task, "bias": task} for task in TASKS},
    "method": {
        "statistics": {"kernel": SHARED, "bias": SHARED},
        "tasks": {task: {"kernel": task, "bias": task} for task in TASKS},
    },
}


def test_owners_of_the_parameters():
    assert model.owners(draw_tree(np.random.default_rng(0))) == OWNERS
    assert model.owners({"encoder": {"w": 1}, "heads": {}, "method": {}}) == {
        "encoder": {"w": SHARED},
        "heads": {},
        "method": {},
    }


class Adamax:
    """Kingma & Ba 2015, Algorithm 2, for one array, with ε added to |g| as in PyTorch."""

    def __init__(self, value):
        self.value = np.array(value)
        self.mean = np.zeros_like(self.value)
        self.largest = np.zeros_like(self.value)
        self.count = 0

    def step(self, gradient, rate, b1=0.9, b2=0.999, epsilon=1e-8):
        self.count += 1
        self.mean = b1 * self.mean + (1 - b1) * gradient
        self.largest = np.maximum(b2 * self.largest, np.abs(gradient) + epsilon)
        self.value -= rate / (1 - b1**self.count) * self.mean / self.largest


def gradients_of(step, present):
    """Random gradients, 0 for the parameters of absent tasks."""
    rng = np.random.default_rng(step)
    # Norms above and below the limit of clipping, and some entries that are 0.
    scale = 0.02 if step % 2 else 3.0
    tree = jax.tree.map(lambda g: scale * np.trunc(4 * g) / 4, draw_tree(rng))
    absent = {task for task, hit in zip(TASKS, present, strict=True) if not hit}
    return jax.tree.map(lambda g, o: 0 * g if o in absent else g, tree, OWNERS)


def test_several_steps_with_absent_tasks():
    clip_norm = 1.0
    schedule = schedules.warm_up(0.01, 5)
    optimise = optimiser.make(schedule, TASKS, clip_norm)
    update = jax.jit(
        lambda grads, state, params, present: optimise.update(
            grads, state, params, present=present
        )
    )
    params = draw_tree(np.random.default_rng(100))
    expected = jax.tree.map(Adamax, params)
    state = optimise.init(params)
    norms = []
    for step, present in enumerate(PRESENT):
        grads = gradients_of(step, present)
        norm = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(grads)))
        norms.append(norm)
        rate = 0.01 * min(step + 1, 5) / 5
        clip = min(1.0, clip_norm / norm)
        for moments, grad, owner in zip(
            jax.tree.leaves(expected),
            jax.tree.leaves(grads),
            jax.tree.leaves(OWNERS),
            strict=True,
        ):
            if owner == SHARED or present[TASKS.index(owner)]:
                moments.step(clip * grad, rate)
        updates, new_state = update(grads, state, params, np.array(present, bool))
        new_params = optax.apply_updates(params, updates)
        for task, is_present in zip(TASKS, present, strict=True):
            if not is_present:
                assert_rests(task, (params, state), (new_params, new_state))
        params, state = new_params, new_state
        # Optax computes 1 - b1**count in float32: seven steps of 0.01, each off by 2e-7.
        jax.tree.map(
            lambda actual, moments: np.testing.assert_allclose(
                actual, moments.value, rtol=0, atol=1.4e-8
            ),
            params,
            expected,
        )
    assert min(norms) < 0.5 * clip_norm
    assert max(norms) > 2 * clip_norm
    counts = {task: inner(state, task).count for task in (*TASKS, SHARED)}
    assert counts == {"alpha": 4, "beta": 4, SHARED: 7}


def inner(state, owner):
    """Adamax's state of the parameters of `owner`; a task's are concatenated."""
    resting = state[1]
    if owner == SHARED:
        return resting.shared
    return jax.tree.map(lambda leaf: leaf[TASKS.index(owner)], resting.own)


def assert_rests(task, before, after):
    """Parameters, moments and count of `task` are the same to the bit."""
    (params, state), (new_params, new_state) = before, after
    for tree, new_tree in [
        (params["heads"][task], new_params["heads"][task]),
        (params["method"]["tasks"][task], new_params["method"]["tasks"][task]),
        (inner(state, task), inner(new_state, task)),
    ]:
        assert len(jax.tree.leaves(tree)) >= 2
        jax.tree.map(np.testing.assert_array_equal, tree, new_tree)


@jax.jit
def after_one_step(grads, clip_norm):
    optimise = optimiser.make(optax.constant_schedule(0.1), TASKS, clip_norm)
    present = np.array([True, True])
    return optimise.update(grads, optimise.init(grads), grads, present=present)[1]


@pytest.mark.parametrize(
    ("norm", "clip_norm"), [(0.5, 1.0), (1.0, 1.0), (4.0, 1.0), (4.0, 10.0), (0.5, 0.1)]
)
def test_the_gradient_is_clipped_by_its_global_norm(norm, clip_norm):
    """Adamax's first moment shows it: 0.1 g after the first step."""
    grads = draw_tree(np.random.default_rng(0))
    total = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(grads)))
    grads = jax.tree.map(lambda g: norm / total * g, grads)
    state = after_one_step(grads, clip_norm)
    share = min(1.0, clip_norm / norm)
    for task in TASKS:
        own = grads["heads"][task], grads["method"]["tasks"][task]
        actual = inner(state, task).mu
        leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(own)]
        expected = 0.1 * share * np.concatenate(leaves)
        np.testing.assert_allclose(actual, expected, rtol=1e-12)
    actual = inner(state, SHARED).mu["encoder"]["layers"]["kernel"]
    expected = 0.1 * share * grads["encoder"]["layers"]["kernel"]
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize("num_steps", [0, 1, 2, 10])
def test_warm_up(num_steps):
    schedule = schedules.warm_up(3e-4, num_steps)
    for step in (0, 1, 2, 5, num_steps - 1, num_steps, num_steps + 1, 10**6):
        if step < 0:
            continue
        expected = 3e-4 * min(1.0, (step + 1) / max(num_steps, 1))
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-12)


def test_the_first_and_the_full_rate():
    schedule = schedules.warm_up(5e-5, 100)
    rates = [float(schedule(step)) for step in (0, 1, 98, 99, 100, 5000)]
    expected = [5e-7, 1e-6, 4.95e-5, 5e-5, 5e-5, 5e-5]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


# ---- many tasks


def names_of(num_tasks):
    return tuple(f"task_{index:03d}" for index in range(num_tasks))


def draw_many(seed, names):
    rng = np.random.default_rng(seed)

    def layer(*shape):
        kernel, bias = rng.normal(size=shape), rng.normal(size=shape[-1])
        return {"kernel": np.float32(kernel), "bias": np.float32(bias)}

    return {
        "encoder": {"layers": layer(5, 4)},
        "heads": {name: layer(4, 1 + i % 4) for i, name in enumerate(names)},
        "method": {
            "statistics": layer(4, 3),
            # Only some tasks have more than a head; scalars are possible too.
            "tasks": {n: {"scale": np.float32(rng.normal())} for n in names[::3]},
        },
    }


def many_presents(num_tasks):
    rng = np.random.default_rng(1)
    return [rng.random(num_tasks) < share for share in (1.0, 0.5, 0.02, 0.0, 0.3, 1.0)]


def many_gradients(step, names, present):
    absent = {name for name, hit in zip(names, present, strict=True) if not hit}
    grads = draw_many(100 + step, names)
    return jax.tree.map(
        lambda g, owner: 0 * g if owner in absent else g, grads, model.owners(grads)
    )


def walk(optimise, names):
    """Yields the parameters before the first step and after each step."""
    update = jax.jit(optimise.update)
    params = jax.tree.map(jnp.asarray, draw_many(0, names))
    state = optimise.init(params)
    yield params
    for step, present in enumerate(many_presents(len(names))):
        grads = many_gradients(step, names, present)
        updates, state = update(grads, state, params, present=jnp.asarray(present))
        params = optax.apply_updates(params, updates)
        yield params


def optimiser_of_each(schedule, tasks, clip_norm):
    """The same optimiser by optax alone: an Adamax for each task, under a condition."""
    groups = {SHARED: optax.scale_by_adamax()}
    for index, task in enumerate(tasks):
        groups[task] = optax.conditionally_mask(
            optax.scale_by_adamax(),
            lambda step, present, index=index, **_: present[index],
            forward_extra_args=True,
        )
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.multi_transform(groups, model.owners),
        optax.scale_by_learning_rate(schedule),
    )


@pytest.mark.slow
def test_parameters_are_those_of_a_separate_optimiser_per_task():
    names = names_of(12)
    arguments = schedules.warm_up(0.01, 3), names, 1.0
    actual = walk(optimiser.make(*arguments), names)
    expected = walk(optimiser_of_each(*arguments), names)
    for after, wanted in zip(actual, expected, strict=True):
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(got, want, rtol=0, atol=3e-7),
            after,
            wanted,
        )


def test_each_of_many_tasks_has_a_separate_step_count():
    names, clip_norm = names_of(128), 1.0
    actual = walk(optimiser.make(lambda _: 0.01, names, clip_norm), names)
    params = next(actual)
    expected = jax.tree.map(lambda leaf: Adamax(np.float64(leaf)), params)
    owners = jax.tree.leaves(model.owners(params))
    presents = many_presents(len(names))
    for step, (present, new) in enumerate(zip(presents, actual, strict=True)):
        leaves = jax.tree.leaves(many_gradients(step, names, present))
        clip = min(1.0, clip_norm / np.sqrt(sum(np.sum(g**2) for g in leaves)))
        is_present = {SHARED: True, **dict(zip(names, present, strict=True))}
        rows = zip(
            jax.tree.leaves(expected),
            leaves,
            owners,
            *map(jax.tree.leaves, (params, new)),
            strict=True,
        )
        for moments, grad, owner, before, after in rows:
            if is_present[owner]:
                moments.step(clip * grad, 0.01)
                np.testing.assert_allclose(after, moments.value, rtol=0, atol=1e-6)
            else:
                np.testing.assert_array_equal(after, before)
        params = new


def operations(num_tasks):
    """Returns the numbers of some kinds of operations in the traced update."""
    names = names_of(num_tasks)
    tree = draw_many(0, names)
    optimise = optimiser.make(optax.constant_schedule(0.1), names)
    present = np.ones(num_tasks, bool)
    text = str(
        jax.make_jaxpr(optimise.update)(tree, optimise.init(tree), present=present)
    )
    return {name: text.count(name) for name in ("cond[", "select_n", "max ", "pow")}


def test_no_arithmetic_is_repeated_for_each_task():
    assert operations(2) == operations(128)
    assert operations(2)["max "] >= 1
    assert operations(2)["cond["] == 0


@pytest.mark.parametrize(
    "transformation",
    [
        optax.adam(1e-2),
        optax.adamw(1e-2, weight_decay=0.1),
        optax.sgd(1e-2, momentum=0.9),
        optax.rmsprop(1e-2),
    ],
    ids=["adam", "adamw", "sgd", "rmsprop"],
)
def test_any_elementwise_transformation_skips_absent_tasks(transformation):
    """Equals a separate transformation for each owner that skips absent steps."""
    optimise = resting.resting(transformation, TASKS)
    params = draw_tree(np.random.default_rng(100))
    expected = jax.tree.map(lambda leaf: (leaf, transformation.init(leaf)), params)
    state = optimise.init(params)
    for step, present in enumerate(PRESENT):
        grads = gradients_of(step, present)
        updates, state = jax.jit(optimise.update)(
            grads, state, params, present=np.array(present, bool)
        )
        params = optax.apply_updates(params, updates)

        def advance(grad, owner, pair, present=present):
            if owner != SHARED and not present[TASKS.index(owner)]:
                return pair
            update, inner_state = transformation.update(grad, pair[1], pair[0])
            return pair[0] + update, inner_state

        expected = jax.tree.map(advance, grads, OWNERS, expected)
        jax.tree.map(
            lambda _, leaf, pair: np.testing.assert_allclose(
                leaf, pair[0], rtol=0, atol=1e-8
            ),
            OWNERS,
            params,
            expected,
        )


def test_a_task_without_parameters_has_a_count_and_nothing_else():
    tree = {"encoder": {"w": np.ones(3)}, "heads": {}, "method": {}}
    optimise = optimiser.make(optax.constant_schedule(0.1), TASKS)
    present = np.array([True, False])
    updates, state = optimise.update(tree, optimise.init(tree), present=present)
    # Clipped, then divided by its magnitude: the update has the size of the rate.
    np.testing.assert_allclose(updates["encoder"]["w"], -0.1, rtol=1e-6)
    assert updates["heads"] == {}
    np.testing.assert_array_equal(state[1].own.count, [1, 0])


def test_a_parameter_of_a_task_that_is_not_listed_is_refused():
    tree = draw_tree(np.random.default_rng(0))
    optimise = optimiser.make(optax.constant_schedule(0.1), ("alpha",))
    with pytest.raises(ValueError, match="must hold 'beta'"):
        optimise.init(tree)
