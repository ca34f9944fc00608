"""Hierarchical MTL against NumPy float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax.methods import hierarchical_mtl, randomness
from mtra_jax.models import heads

# No text of the last task; -1 is an empty place.
TASKS = (0, 3, 1, -1, 2, 0, 1, 1, -1, 3, 3, 2, 0, 1, 0, -1)
BETA, SHARED_BETA = 0.3, 0.7
RTOL = 1e-11
RNGS = {"method": jax.random.key(4), "dropout": jax.random.key(5)}
pytestmark = pytest.mark.usefixtures("float64")


def make(toy, shared_bottleneck=True):
    return hierarchical_mtl.make(
        toy.model,
        beta=BETA,
        shared_beta=SHARED_BETA,
        shared_bottleneck=shared_bottleneck,
    )


def draw_params(toy, method):
    rng = np.random.default_rng(1)
    own = jax.eval_shape(method.init, jax.random.key(0))
    own = jax.tree.map(lambda leaf: 0.6 * rng.normal(size=leaf.shape), own)
    return {**toy.params("ew"), "method": own}


def draw_noises(shape):
    """Noise of the shared bottleneck and of the channels, from two keys of the step's."""
    zeros = np.zeros(shape)
    draw = jax.jit(lambda rngs: randomness.reparameterize(zeros, zeros, rngs, None))
    return [np.asarray(draw(rngs)) for rngs in hierarchical_mtl.split(RNGS)]


def linear(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def divergence(mean, variance, prior_variance):
    """KL(N(mean, variance) ‖ N(0, prior_variance)) for each entry."""
    ratio = (variance + mean**2) / prior_variance
    return (ratio - 1 + np.log(prior_variance / variance)) / 2


def task_loss(space, task, predicted, wanted):
    if not space.is_classification[task]:
        return np.mean((predicted - wanted) ** 2)
    logs = predicted - np.logaddexp.reduce(predicted, axis=1, keepdims=True)
    return -np.mean(np.sum(wanted * logs, axis=1))


def expected(toy, params, batch, noises):
    """The objective and its parts; the noises are 0 in evaluation."""
    space, own = toy.model.space, params["method"]
    table = params["encoder"]["embeddings"]["word_embeddings"]["embedding"]
    u, shared = table[batch.tokens.ravel()], 0.0
    if "bottleneck" in own:
        log_variance = linear(own["bottleneck"]["log_variance"], u)
        mean = linear(own["bottleneck"]["mean"], u)
        terms = divergence(mean, np.exp(log_variance), 1.0)
        shared = SHARED_BETA * np.mean(terms[batch.where])
        u = mean + np.exp(log_variance / 2) * noises[0]
    losses, kls, outputs = np.zeros(5), np.zeros(5), np.zeros(batch.targets.shape)
    for task, name in enumerate(toy.names):
        rows = np.flatnonzero(batch.where & (batch.tasks == task))
        if not len(rows):
            continue
        variance = np.exp(own["tasks"][name]["noise_log_variance"])
        prior = np.exp(own["tasks"][name]["prior_log_variance"])
        received = (
            u[rows] + np.sqrt(variance) * np.broadcast_to(noises[1], u.shape)[rows]
        )
        slots = np.flatnonzero(space.slot_tasks == task)
        predicted = linear(params["heads"][name], np.maximum(received, 0))
        outputs[np.ix_(rows, slots)] = predicted
        losses[task] = task_loss(
            space, task, predicted, batch.targets[np.ix_(rows, slots)]
        )
        kls[task] = np.mean(divergence(u[rows], variance, prior))
    return losses.sum() + BETA * kls.sum() + shared, losses, kls, shared, outputs


@functools.cache
def differentiate(toy, shared_bottleneck):
    """Returns parameters, batch, noises, and the gradient of a step."""
    model, method = toy.model, make(toy, shared_bottleneck)
    params, batch = draw_params(toy, method), toy.batch(TASKS)
    program = jax.jit(lambda params, batch: toy.gradient(method, params, batch, RNGS))
    noises = draw_noises((len(TASKS), model.hidden_size))
    return params, batch, noises, jax.device_get(program(params, batch))


shared_or_not = pytest.mark.parametrize(
    "shared_bottleneck", [True, False], ids=["shared", "not_shared"]
)


@shared_or_not
def test_loss_is_the_sum_of_its_terms(toy, shared_bottleneck):
    params, batch, noises, result = differentiate(toy, shared_bottleneck)
    total, losses, kls, shared, _ = expected(toy, params, batch, noises)
    assert result.terms.keys() == {"task", "kl"}
    np.testing.assert_allclose(result.terms["task"], losses, rtol=RTOL)
    np.testing.assert_allclose(result.terms["kl"], kls, rtol=RTOL)
    np.testing.assert_allclose(result.losses, losses + BETA * kls, rtol=RTOL)
    np.testing.assert_allclose(result.objective, total, rtol=RTOL)
    np.testing.assert_array_equal(result.weights, result.present)
    assert min(*losses[:4], *kls[:4]) > 0.1
    if shared_bottleneck:
        np.testing.assert_allclose(result.scalars["batch_loss"], shared, rtol=RTOL)
        assert shared > 0.1
    else:
        # u is z: there is no shared compression.
        assert params["method"].keys() == {"tasks"}
        assert not result.scalars
        assert result.objective == pytest.approx(np.sum(result.losses), rel=RTOL)


@shared_or_not
def test_gradient_reaches_every_parameter(toy, shared_bottleneck):
    """Compares each array's directional derivative with differences of NumPy's loss."""
    params, batch, noises, result = differentiate(toy, shared_bottleneck)
    leaves, structure = jax.tree.flatten(params)
    paths = [path for path, _ in jax.tree.leaves_with_path(params)]
    actual = jax.tree.leaves(result.grads)
    rng, step = np.random.default_rng(2), 1e-5
    for place, leaf in enumerate(leaves):
        name = jax.tree_util.keystr(paths[place], simple=True, separator="/")
        direction, ends = rng.normal(size=leaf.shape), []
        for distance in (step, -step):
            moved = [*leaves]
            moved[place] = leaf + distance * direction
            moved = structure.unflatten(moved)
            ends.append(expected(toy, moved, batch, noises)[0])
        slope = (ends[0] - ends[1]) / (2 * step)
        got = np.sum(actual[place] * direction)
        # Errors of the differences: step² f'''/6, and the rounding of f over the step.
        np.testing.assert_allclose(got, slope, rtol=1e-8, atol=1e-8, err_msg=name)
        # Only the parameters of the task without texts have no gradient.
        assert np.any(actual[place]) == (f"/{toy.names[4]}/" not in name), name


def test_the_two_draws_of_a_text_are_not_related():
    first, second = draw_noises((4096, 2))
    product = np.mean(first * second, axis=0)
    # Five standard errors of a correlation.
    assert np.abs(product).max() < 5 / 64
    assert hierarchical_mtl.split(None) == (None, None)


@shared_or_not
def test_evaluation_reads_the_mean_of_u(toy, shared_bottleneck):
    model, method = toy.model, make(toy, shared_bottleneck)
    params, batch = draw_params(toy, method), toy.batch(TASKS)
    result = jax.jit(lambda p, b: method.losses(p, b, None, None))(params, batch)
    _, losses, kls, shared, outputs = expected(toy, params, batch, (0.0, 0.0))
    own = (model.space.slot_tasks == batch.tasks[:, None]) & batch.where[:, None]
    actual = np.where(own, result.outputs, 0)
    np.testing.assert_allclose(actual, outputs, rtol=RTOL, atol=1e-14)
    np.testing.assert_allclose(result.terms["task"], losses, rtol=RTOL)
    np.testing.assert_allclose(result.losses, losses + BETA * kls, rtol=RTOL)
    if shared_bottleneck:
        np.testing.assert_allclose(result.batch_loss, shared, rtol=RTOL)
    else:
        assert result.batch_loss is None


def test_training_applies_the_dropout_of_the_heads_to_the_noisy_channel(toy):
    model = toy.model._replace(heads=heads.Heads(toy.model.heads.tasks, 0.5))
    method = hierarchical_mtl.make(model, shared_bottleneck=False)
    params, batch = draw_params(toy, method), toy.batch(TASKS)
    shape = len(TASKS), model.hidden_size
    program = jax.jit(lambda p, b: method.losses(p, b, RNGS, None).outputs)
    outputs = np.asarray(program(params, batch))
    _, heads_rng = randomness.dropout_keys(RNGS)
    head_factors = np.asarray(model.head_features(params, np.ones(shape), heads_rng))
    assert set(np.unique(head_factors)) == {0, 2}
    z = params["encoder"]["embeddings"]["word_embeddings"]["embedding"]
    z, noise = z[batch.tokens.ravel()], draw_noises(shape)[1]
    for row in np.flatnonzero(batch.where):
        task = batch.tasks[row]
        name = toy.names[task]
        spread = np.exp(params["method"]["tasks"][name]["noise_log_variance"] / 2)
        features = head_factors[row] * np.maximum(z[row] + spread * noise[row], 0)
        np.testing.assert_allclose(
            outputs[row, model.space.slot_tasks == task],
            linear(params["heads"][name], features),
            rtol=RTOL,
            atol=1e-13,
        )


def test_the_channels_start_with_little_noise_under_a_standard_prior(toy):
    added = jax.jit(hierarchical_mtl.make(toy.model).init)(jax.random.key(0))
    assert added.keys() == {"tasks", "bottleneck"}
    layer = {"kernel": (6, 6), "bias": (6,)}
    shapes = jax.tree.map(jnp.shape, added["bottleneck"])
    assert shapes == {"mean": layer, "log_variance": layer}
    assert added["tasks"].keys() == set(toy.names)
    for task in added["tasks"].values():
        assert task.keys() == {"noise_log_variance", "prior_log_variance"}
        np.testing.assert_array_equal(task["noise_log_variance"], np.full(6, -5.0))
        np.testing.assert_array_equal(task["prior_log_variance"], np.zeros(6))
