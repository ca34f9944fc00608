"""Draws of Gaussians, and MT-VIB's loss, against NumPy float64."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mtra_jax.methods import mt_vib, randomness
from mtra_jax.models import heads

# No text of the last task; -1 is an empty place.
TASKS = (0, 3, 1, -1, 2, 0, 1, 1, -1, 3, 3, 2, 0, 1, 0, -1)
BETA = 0.3
RTOL = 1e-11
RNGS = {"method": jax.random.key(4), "dropout": jax.random.key(5)}

pytestmark = pytest.mark.usefixtures("float64")


@jax.jit
def draw(mean, log_variance):
    return randomness.reparameterize(mean, log_variance, RNGS, None)


def draw_noise(shape):
    return np.asarray(draw(np.zeros(shape), np.zeros(shape)))


# ---- the draws of all methods with Gaussians


def test_a_draw_in_evaluation_is_the_mean():
    mean = np.random.default_rng(0).normal(size=(3, 2))
    assert randomness.reparameterize(mean, np.full((3, 2), 9.0), None, None) is mean


def test_draws_have_the_moments_of_their_gaussian():
    """Moments within five standard errors, and a Kolmogorov-Smirnov test."""
    mean, log_variance = np.array([[1.0, -2.0]]), np.array([[-3.0, 2.0]])
    size = 20_000
    ones = np.ones((size, 1))
    draws = np.asarray(draw(ones * mean, ones * log_variance))
    noise = (draws - mean) * np.exp(-log_variance / 2)
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=5 / np.sqrt(size))
    np.testing.assert_allclose(noise.var(axis=0), 1, atol=5 * np.sqrt(2 / size))
    # Neither the columns of a text nor neighbouring texts are correlated.
    columns = np.mean(noise[:, 0] * noise[:, 1])
    neighbours = np.mean(noise[1:] * noise[:-1], axis=0)
    assert np.abs([columns, *neighbours]).max() < 5 / np.sqrt(size)
    for column in noise.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3


def test_draws_follow_the_key_of_the_method_only():
    zeros = np.zeros((4, 3))
    other = jax.random.key(9)

    @jax.jit
    def draw(rngs):
        return randomness.reparameterize(zeros, zeros, rngs, None)

    draws = np.asarray(draw(RNGS))
    assert not np.any(draws == draw({**RNGS, "method": other}))
    np.testing.assert_array_equal(draws, draw({**RNGS, "dropout": other}))


@pytest.mark.parametrize("num_devices", [1, 4])
def test_noise_follows_the_place_in_the_planned_batch(num_devices):
    """Position p is row p // D of device p % D; each text has a matrix of noise."""
    rng = np.random.default_rng(0)
    mean, log_variance = rng.normal(size=(2, 8, 3, 2))
    expected = np.asarray(draw(mean, log_variance))
    devices = range(num_devices)
    shards = [
        np.stack([x[device::num_devices] for device in devices])
        for x in (mean, log_variance)
    ]
    program = jax.pmap(
        lambda *shard: randomness.reparameterize(*shard, RNGS, "data"),
        axis_name="data",
        devices=jax.devices()[:num_devices],
    )
    actual = np.asarray(program(*shards))
    for place in range(8):
        np.testing.assert_allclose(
            actual[place % num_devices, place // num_devices],
            expected[place],
            rtol=1e-13,
        )
    # No two texts share noise.
    noise = (expected - mean) * np.exp(-log_variance / 2)
    assert len(np.unique(np.round(noise, 6))) == noise.size


def test_draws_are_differentiable_by_mean_and_log_variance():
    rng = np.random.default_rng(0)
    mean, log_variance, weights = rng.normal(size=(3, 4, 2))
    noise = draw_noise((4, 2))

    @jax.jit
    def gradient(mean, log_variance):
        def value(mean, log_variance):
            return jnp.sum(weights * draw(mean, log_variance))

        return jax.grad(value, (0, 1))(mean, log_variance)

    by_mean, by_variance = gradient(mean, log_variance)
    np.testing.assert_allclose(by_mean, weights, rtol=1e-13)
    expected = weights * noise * np.exp(log_variance / 2) / 2
    np.testing.assert_allclose(by_variance, expected, rtol=1e-13)


# ---- MT-VIB


def draw_params(toy, method):
    rng = np.random.default_rng(1)
    own = jax.eval_shape(method.init, jax.random.key(0))
    own = jax.tree.map(lambda leaf: 0.6 * rng.normal(size=leaf.shape), own)
    return {**toy.params("ew"), "method": own}


def linear(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def task_losses(space, outputs, batch):
    """Cross-entropy or squared error in each task's slots; 0 without texts."""
    losses = np.zeros(space.num_tasks)
    for task in range(space.num_tasks):
        rows = np.flatnonzero(batch.where & (batch.tasks == task))
        own = np.ix_(rows, np.flatnonzero(space.slot_tasks == task))
        predicted, wanted = outputs[own], batch.targets[own]
        if not len(rows):
            continue
        if space.is_classification[task]:
            logs = predicted - np.logaddexp.reduce(predicted, axis=1, keepdims=True)
            losses[task] = -np.mean(np.sum(wanted * logs, axis=1))
        else:
            losses[task] = np.mean((predicted - wanted) ** 2)
    return losses


def posterior(params, batch):
    """Mean and log-variance [B, H] of u."""
    table = params["encoder"]["embeddings"]["word_embeddings"]["embedding"]
    z, layers = table[batch.tokens.ravel()], params["method"]["bottleneck"]
    return linear(layers["mean"], z), linear(layers["log_variance"], z)


def predict(toy, params, u):
    columns = [linear(params["heads"][n], np.maximum(u, 0)) for n in toy.names]
    return np.concatenate(columns, axis=1)


def mean_kl(mean, log_variance, where):
    terms = np.exp(log_variance) + mean**2 - 1 - log_variance
    return np.mean(terms[where]) / 2


def expected(toy, params, batch, noise, uncertainty):
    """The objective, the tasks' losses and the weighted KL term."""
    space = toy.model.space
    mean, log_variance = posterior(params, batch)
    outputs = predict(toy, params, mean + np.exp(log_variance / 2) * noise)
    losses = task_losses(space, outputs, batch)
    compression = BETA * mean_kl(mean, log_variance, batch.where)
    total = compression
    for task in sorted(set(TASKS) - {-1}):
        if not uncertainty:
            total += losses[task]
            continue
        s = params["method"]["tasks"][toy.names[task]]["log_variance"]
        factor = 1 if space.is_classification[task] else 1 / 2
        total += math.exp(-s) * factor * losses[task] + s / 2
    return total, losses, compression, outputs


@functools.cache
def differentiate(toy, uncertainty):
    """Returns parameters, batch, noise, and the gradient of a step."""
    model = toy.model
    method = mt_vib.make(model, beta=BETA, uncertainty=uncertainty)
    params, batch = draw_params(toy, method), toy.batch(TASKS)
    program = jax.jit(lambda params, batch: toy.gradient(method, params, batch, RNGS))
    noise = draw_noise((len(TASKS), model.hidden_size))
    return params, batch, noise, jax.device_get(program(params, batch))


@pytest.mark.parametrize("uncertainty", [True, False])
def test_loss_is_the_tasks_and_beta_times_the_divergence(toy, uncertainty):
    params, batch, noise, result = differentiate(toy, uncertainty)
    total, losses, compression, _ = expected(toy, params, batch, noise, uncertainty)
    np.testing.assert_allclose(result.losses, losses, rtol=RTOL)
    assert result.terms.keys() == {"task"}
    np.testing.assert_allclose(result.terms["task"], losses, rtol=RTOL)
    np.testing.assert_allclose(result.scalars["batch_loss"], compression, rtol=RTOL)
    np.testing.assert_allclose(result.objective, total, rtol=RTOL)
    assert min(*losses[:4], compression) > 0.1


@pytest.mark.parametrize("uncertainty", [True, False])
def test_gradient_reaches_every_parameter(toy, uncertainty):
    """Compares each array's directional derivative with differences of NumPy's loss."""
    params, batch, noise, result = differentiate(toy, uncertainty)
    leaves, structure = jax.tree.flatten(params)
    paths = [path for path, _ in jax.tree.leaves_with_path(params)]
    actual = jax.tree.leaves(result.grads)
    rng, step = np.random.default_rng(2), 1e-5
    absent = toy.names[4]
    for place, leaf in enumerate(leaves):
        name = jax.tree_util.keystr(paths[place], simple=True, separator="/")
        direction, ends = rng.normal(size=leaf.shape), []
        for distance in (step, -step):
            moved = [*leaves]
            moved[place] = leaf + distance * direction
            moved = structure.unflatten(moved)
            ends.append(expected(toy, moved, batch, noise, uncertainty)[0])
        slope = (ends[0] - ends[1]) / (2 * step)
        got = np.sum(actual[place] * direction)
        # Errors of the differences: step² f'''/6, and the rounding of f over the step.
        np.testing.assert_allclose(got, slope, rtol=1e-8, atol=1e-8, err_msg=name)
        assert np.any(actual[place]) == (f"/{absent}/" not in name), name


def test_evaluation_reads_the_mean(toy):
    model = toy.model
    method = mt_vib.make(model, beta=BETA)
    params, batch = draw_params(toy, method), toy.batch(TASKS)
    result = jax.jit(lambda p, b: method.losses(p, b, None, None))(params, batch)
    _, losses, compression, outputs = expected(toy, params, batch, 0.0, True)
    np.testing.assert_allclose(result.outputs, outputs, rtol=RTOL, atol=1e-14)
    np.testing.assert_allclose(result.losses, losses, rtol=RTOL)
    np.testing.assert_allclose(result.batch_loss, compression, rtol=RTOL)


def test_training_applies_the_dropout_of_the_heads_to_the_draw(toy):
    model = toy.model._replace(heads=heads.Heads(toy.model.heads.tasks, 0.5))
    method = mt_vib.make(model, beta=BETA)
    params, batch = draw_params(toy, method), toy.batch(TASKS)
    shape = len(TASKS), model.hidden_size
    result = jax.jit(lambda p, b: method.losses(p, b, RNGS, None))(params, batch)
    _, heads_rng = randomness.dropout_keys(RNGS)
    head_factors = model.head_features(params, np.ones(shape), heads_rng)
    assert set(np.unique(head_factors)) == {0, 2}
    mean, log_variance = posterior(params, batch)
    u = mean + np.exp(log_variance / 2) * draw_noise(shape)
    np.testing.assert_allclose(
        result.outputs, predict(toy, params, head_factors * u), rtol=RTOL, atol=1e-13
    )


def test_the_network_starts_near_the_one_without_a_bottleneck(toy):
    """Little noise, and equal weights of all tasks."""
    added = jax.jit(mt_vib.make(toy.model).init)(jax.random.key(0))
    shapes = jax.tree.map(jnp.shape, added)
    layer = {"kernel": (6, 6), "bias": (6,)}
    scales = {name: {"log_variance": ()} for name in toy.names}
    network = {"mean": layer, "log_variance": layer}
    assert shapes == {"bottleneck": network, "tasks": scales}
    assert not any(jax.tree.leaves(added["tasks"]))
    assert np.all(added["bottleneck"]["log_variance"]["bias"] == -5)
    plain = mt_vib.make(toy.model, uncertainty=False).init
    assert jax.eval_shape(plain, jax.random.key(0)).keys() == {"bottleneck"}
