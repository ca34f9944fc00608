"""VMTL's posteriors, mixed priors and loss against NumPy float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax.methods import randomness, vmtl
from mtra_jax.models import heads

# No text of the last task; -1 is an empty place.
TASKS = (0, 3, 1, -1, 2, 0, 1, 1, -1, 3, 3, 2, 0, 1, 0, -1)
PRESENT = np.array([True, True, True, True, False])
BETA, GAMMA, TEMPERATURE = 0.3, 0.7, 0.6
FLOOR = 1e-6
"""Added to every variance of a prior, as in the released code."""
RTOL = 1e-11
RNGS = {"method": jax.random.key(4), "dropout": jax.random.key(5)}
pytestmark = pytest.mark.usefixtures("float64")

# Compiled, which is ten times as fast as single operations.
mix = jax.jit(vmtl.mix)


# ---- the mixture of the other tasks


def weights_of(logits, present, temperature, key):
    """Returns the weights [T, T] of `mix`, read off parts whose means are unit vectors."""
    units = np.eye(len(logits))
    return np.asarray(
        mix(vmtl.Prior(units, units), logits, present, temperature, key).mean
    )


def draw_gumbel(present, key):
    """Returns the noise of the weights, up to a constant per row (softmax ignores it)."""
    with np.errstate(divide="ignore"):
        return np.log(weights_of(np.zeros((5, 5)), present, 1.0, key))


def softmax(scores):
    exps = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def test_the_mixture_excludes_the_task_itself_and_absent_tasks():
    logits = 2 * np.random.default_rng(0).normal(size=(5, 5))
    actual = weights_of(logits, PRESENT, TEMPERATURE, jax.random.key(0))
    allowed = PRESENT & ~np.eye(5, dtype=bool)
    np.testing.assert_array_equal(actual > 0, allowed)
    np.testing.assert_allclose(actual.sum(axis=1), 1, rtol=1e-14)


def test_a_single_other_task_has_all_the_weight():
    logits = np.random.default_rng(0).normal(size=(3, 3))
    present = np.array([True, False, True])
    actual = weights_of(logits, present, TEMPERATURE, jax.random.key(0))
    np.testing.assert_array_equal(actual[[0, 2]], [[0, 0, 1], [1, 0, 0]])


def test_the_mixture_adds_means_by_weights_and_variances_by_their_squares():
    """The moments of Σ c x of independent x; the squared weights sum to less than 1."""
    rng = np.random.default_rng(0)
    logits, mean, variance = rng.normal(size=(3, 5, 5))
    parts, key = vmtl.Prior(mean, variance**2), jax.random.key(0)
    weights = weights_of(logits, PRESENT, TEMPERATURE, key)
    actual = mix(parts, logits, PRESENT, TEMPERATURE, key)
    for task in range(5):
        total, spread = np.zeros(5), np.zeros(5)
        for other in range(5):
            total += weights[task, other] * mean[other]
            spread += weights[task, other] ** 2 * variance[other] ** 2
        np.testing.assert_allclose(actual.mean[task], total, rtol=1e-12)
        np.testing.assert_allclose(actual.variance[task], spread, rtol=1e-12)


def test_weights_at_low_temperature_are_draws_from_the_softmax():
    """The argmax with Gumbel noise is a draw from the softmax over the others present."""
    logits = np.array([[5.0, 0.5, -1.0, 1.0, 3.0], [0.3, 5.0, 0.1, -0.7, 3.0]])
    logits = np.concatenate([logits, np.zeros((3, 5))])
    size = 4000
    keys = jax.random.split(jax.random.key(1), size)
    units = np.eye(5)

    @jax.jit
    @jax.vmap
    def draw(key):
        return vmtl.mix(vmtl.Prior(units, units), logits, PRESENT, 1e-3, key).mean

    actual = np.asarray(draw(keys))
    # One task has nearly all the weight.
    assert np.mean(actual.max(axis=-1) > 0.99) > 0.95
    allowed = PRESENT & ~np.eye(5, dtype=bool)
    expected = softmax(np.where(allowed, logits, -np.inf))
    # Five standard errors of a share.
    errors = 5 * np.sqrt(expected * (1 - expected) / size)
    assert np.all(np.abs(actual.mean(axis=0) - expected) <= errors + 2e-3)
    # The draws of two tasks are not correlated.
    first, second = actual[:, 0, 2] > 0.5, actual[:, 1, 2] > 0.5
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(size)


def test_weights_are_the_softmax_of_logits_and_noise_over_the_temperature():
    logits = 2 * np.random.default_rng(0).normal(size=(5, 5))
    key = jax.random.key(0)
    noise = draw_gumbel(PRESENT, key)
    for temperature in (0.3, 1.0, 4.0):
        actual = weights_of(logits, PRESENT, temperature, key)
        expected = softmax((logits + noise) / temperature)
        np.testing.assert_allclose(actual, expected, rtol=1e-10)


@pytest.mark.parametrize(
    "present",
    [[False, True, False], [False, False, False], [True]],
    ids=["alone_in_the_batch", "nothing", "alone"],
)
def test_without_another_task_the_prior_is_standard_normal(present):
    present = np.array(present)
    size = len(present)
    rng = np.random.default_rng(0)
    parts = vmtl.Prior(rng.normal(size=(size, 2)), rng.uniform(1, 2, size=(size, 2)))
    logits = rng.normal(size=(size, size))
    row = int(np.argmax(present))

    @jax.jit
    def prior_and_gradient(logits):
        def value(logits):
            prior = vmtl.mix(parts, logits, present, 0.5, jax.random.key(0))
            return jnp.sum(prior.mean + prior.variance), prior

        return jax.grad(value, has_aux=True)(logits)

    gradient, prior = prior_and_gradient(logits)
    np.testing.assert_array_equal(prior.mean[row], [0, 0])
    np.testing.assert_array_equal(prior.variance[row], [1, 1])
    # With one task or none the weights are constant, and no gradient is NaN.
    np.testing.assert_allclose(gradient, np.zeros((size, size)), atol=1e-15)


# ---- the moments that are mixed, and the KL terms


def draw_posterior(shape=(16, 6), seed=0):
    rng = np.random.default_rng(seed)
    return vmtl.Gaussian(2 * rng.normal(size=shape), rng.normal(size=shape))


def moments(means, variances):
    """Moments of an equal mixture of Gaussians, by the law of total variance."""
    return means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0) + FLOOR


@pytest.mark.parametrize("num_devices", [1, 4])
def test_moments_of_a_task_are_those_of_its_texts_on_all_devices(toy, num_devices):
    posterior = draw_posterior()
    shards = vmtl.Gaussian(
        *(
            np.stack([x[device::num_devices] for device in range(num_devices)])
            for x in posterior
        )
    )
    program = jax.pmap(
        lambda posterior, batch: vmtl.moments_of_texts(posterior, batch, 5, "data"),
        axis_name="data",
        out_axes=None,
        devices=jax.devices()[:num_devices],
    )
    actual = jax.device_get(program(shards, toy.batch(TASKS, num_devices)))
    for task in range(4):
        rows = np.array(TASKS) == task
        mean, variance = moments(
            posterior.mean[rows], np.exp(posterior.log_variance[rows])
        )
        np.testing.assert_allclose(actual.mean[task], mean, rtol=RTOL, atol=1e-14)
        np.testing.assert_allclose(actual.variance[task], variance, rtol=RTOL)
    assert np.all(np.isfinite(actual.mean[4]) & (actual.variance[4] > 0))


def test_moments_of_a_classifier_are_those_of_its_columns(toy):
    space = toy.model.space
    kernel = draw_posterior((6, len(space.slot_tasks)))
    actual = jax.jit(lambda kernel: vmtl.moments_of_columns(kernel, space))(kernel)
    for task in range(5):
        own = space.slot_tasks == task
        columns = kernel.mean[:, own].T, np.exp(kernel.log_variance[:, own].T)
        mean, variance = moments(*columns)
        np.testing.assert_allclose(actual.mean[task], mean, rtol=RTOL, atol=1e-14)
        np.testing.assert_allclose(actual.variance[task], variance, rtol=RTOL)


def test_a_variance_that_rounds_below_zero_stays_positive(toy):
    """For equal texts far from 0 without noise the difference of squares is rounding."""
    shape = len(TASKS), 6
    posterior = vmtl.Gaussian(np.full(shape, 1e5 / 3), np.full(shape, -60.0))
    actual = vmtl.moments_of_texts(posterior, toy.batch(TASKS), 5, None)
    assert np.all(np.asarray(actual.variance) >= FLOOR)


def test_the_moments_are_constants(toy):
    batch, space = toy.batch(TASKS), toy.model.space

    @jax.jit
    def gradient(texts, kernel):
        def value(texts, kernel):
            priors = (
                vmtl.moments_of_texts(texts, batch, 5, None),
                vmtl.moments_of_columns(kernel, space),
            )
            return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(priors))

        return jax.grad(value, (0, 1))(texts, kernel)

    kernel = draw_posterior((6, len(space.slot_tasks)))
    for leaf in jax.tree.leaves(gradient(draw_posterior(), kernel)):
        assert not np.any(leaf)


def divergence(mean, variance, prior_mean, prior_variance):
    ratio = (variance + (mean - prior_mean) ** 2) / prior_variance
    return (ratio - 1 + np.log(prior_variance / variance)) / 2


def draw_prior(seed=1):
    rng = np.random.default_rng(seed)
    return vmtl.Prior(rng.normal(size=(5, 6)), rng.uniform(0.1, 3, size=(5, 6)))


def test_divergence_of_texts_is_from_the_prior_of_their_task(toy):
    batch, posterior, prior = toy.batch(TASKS), draw_posterior(), draw_prior()
    program = jax.jit(lambda *args: vmtl.representation_kl(*args, batch, 5, None))
    actual = program(posterior, prior)
    expected = np.zeros(5)
    for task in range(4):
        rows = np.array(TASKS) == task
        variance = np.exp(posterior.log_variance[rows])
        own = prior.mean[task], prior.variance[task]
        expected[task] = np.mean(divergence(posterior.mean[rows], variance, *own))
    np.testing.assert_allclose(actual, expected, rtol=RTOL)


def test_divergence_of_classifiers_is_from_the_prior_of_their_task(toy):
    space, prior = toy.model.space, draw_prior()
    kernel = draw_posterior((6, len(space.slot_tasks)))
    actual = jax.jit(lambda *args: vmtl.classifier_kl(*args, space))(kernel, prior)
    expected = np.zeros(5)
    for task in range(5):
        own = space.slot_tasks == task
        variance = np.exp(kernel.log_variance[:, own])
        terms = divergence(
            kernel.mean[:, own],
            variance,
            prior.mean[task][:, None],
            prior.variance[task][:, None],
        )
        expected[task] = terms.mean()
    np.testing.assert_allclose(actual, expected, rtol=RTOL)


# ---- the whole loss


def make(toy):
    model = toy.model._replace(heads=heads.Heads(toy.model.heads.tasks, 0.5))
    return model, vmtl.make(model, beta=BETA, gamma=GAMMA, temperature=TEMPERATURE)


def draw_params(toy, method):
    rng = np.random.default_rng(1)
    own = jax.eval_shape(method.init, jax.random.key(0))
    own = jax.tree.map(lambda leaf: 0.6 * rng.normal(size=leaf.shape), own)
    return {**toy.params("ew"), "method": own}


def draw_noises(model, params, batch):
    """Noise of z, of the outputs and of both mixtures, and the heads' dropout factors.

    The step's key is split into the four keys of the noises, in this order.
    """
    keys = jax.random.split(RNGS["method"], 4)

    @functools.partial(jax.jit, static_argnums=1)
    def draw(key, width):
        zeros = jnp.zeros((len(TASKS), width))
        return randomness.reparameterize(zeros, zeros, {"method": key}, None)

    _, heads_rng = randomness.dropout_keys(RNGS)
    ones = np.ones((len(TASKS), model.hidden_size))
    return (
        np.asarray(draw(keys[0], model.hidden_size)),
        np.asarray(draw(keys[1], batch.targets.shape[1])),
        draw_gumbel(PRESENT, keys[2]),
        draw_gumbel(np.ones(5, bool), keys[3]),
        np.asarray(model.head_features(params, ones, heads_rng)),
    )


def linear(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def task_loss(space, task, predicted, wanted):
    if not space.is_classification[task]:
        return np.mean((predicted - wanted) ** 2)
    logs = predicted - np.logaddexp.reduce(predicted, axis=1, keepdims=True)
    return -np.mean(np.sum(wanted * logs, axis=1))


def posterior_of(params, batch):
    table = params["encoder"]["embeddings"]["word_embeddings"]["embedding"]
    z, layers = table[batch.tokens.ravel()], params["method"]["bottleneck"]
    return linear(layers["mean"], z), np.exp(linear(layers["log_variance"], z))


def moments_of(toy, params, batch):
    """Returns moments of each task's texts (None without texts), and of its columns."""
    mean, variance = posterior_of(params, batch)
    texts, columns = [], []
    for task, name in enumerate(toy.names):
        rows = batch.where & (batch.tasks == task)
        texts.append(moments(mean[rows], variance[rows]) if rows.any() else None)
        kernel = params["heads"][name]["kernel"]
        spread = np.exp(params["method"]["tasks"][name]["log_variance"])
        columns.append(moments(kernel.T, spread.T))
    return texts, columns


def mixed(parts, logits, noise):
    """Returns Σ c μ and Σ c² σ² over the parts with a weight."""
    weights = softmax((logits + noise) / TEMPERATURE)
    pairs = [(c, *part) for c, part in zip(weights, parts, strict=True) if c > 0]
    mean = sum(c * mean for c, mean, _ in pairs)
    return mean, sum(c**2 * variance for c, _, variance in pairs)


def expected(toy, params, batch, noises, constants):
    """Returns the objective, ℓ_t and both KL terms; `constants`: from `moments_of`."""
    space, (texts, columns) = toy.model.space, constants
    z_noise, output_noise, z_gumbel, w_gumbel, head_factors = noises
    mean, variance = posterior_of(params, batch)
    features = np.maximum(mean + np.sqrt(variance) * z_noise, 0) * head_factors
    losses, z_kls, w_kls = np.zeros((3, 5))
    for task, name in enumerate(toy.names):
        own = params["method"]["tasks"][name]
        kernel, spread = params["heads"][name]["kernel"], np.exp(own["log_variance"])
        w_mean, w_variance = mixed(columns, own["w_logits"], w_gumbel[task])
        terms = divergence(kernel, spread, w_mean[:, None], w_variance[:, None])
        w_kls[task] = terms.mean()
        rows = np.flatnonzero(batch.where & (batch.tasks == task))
        if not len(rows):
            continue
        slots = np.flatnonzero(space.slot_tasks == task)
        # Variance of a sum of independent Gaussians: Σ_h f_h² exp(log_variance_hl).
        deviation = np.sqrt(np.maximum(features[rows] ** 2 @ spread, vmtl.TINY))
        predicted = linear(params["heads"][name], features[rows])
        predicted = predicted + deviation * output_noise[np.ix_(rows, slots)]
        losses[task] = task_loss(
            space, task, predicted, batch.targets[np.ix_(rows, slots)]
        )
        z_prior = mixed(texts, own["z_logits"], z_gumbel[task])
        z_kls[task] = np.mean(divergence(mean[rows], variance[rows], *z_prior))
    parts = losses + BETA * z_kls + GAMMA * w_kls
    return parts[PRESENT].sum() / 5, losses, z_kls, w_kls


@functools.cache
def differentiate(toy):
    """Returns parameters, batch, noises, and the gradient of a step."""
    model, method = make(toy)
    params, batch = draw_params(toy, method), toy.batch(TASKS)
    program = jax.jit(lambda params, batch: toy.gradient(method, params, batch, RNGS))
    noises = draw_noises(model, params, batch)
    return params, batch, noises, jax.device_get(program(params, batch))


def test_loss_is_the_mean_over_the_tasks_of_three_terms(toy):
    params, batch, noises, result = differentiate(toy)
    constants = moments_of(toy, params, batch)
    total, losses, z_kls, w_kls = expected(toy, params, batch, noises, constants)
    assert result.terms.keys() == {"task", "z_kl", "w_kl"}
    np.testing.assert_allclose(result.terms["task"], losses, rtol=RTOL)
    np.testing.assert_allclose(result.terms["z_kl"], z_kls, rtol=RTOL)
    np.testing.assert_allclose(result.terms["w_kl"], w_kls, rtol=RTOL)
    parts = losses + BETA * z_kls + GAMMA * w_kls
    np.testing.assert_allclose(result.losses, parts, rtol=RTOL)
    np.testing.assert_allclose(result.objective, total, rtol=RTOL)
    np.testing.assert_allclose(result.weights, PRESENT / 5, rtol=1e-14)
    assert result.scalars == {}
    assert min(*losses[:4], *z_kls[:4], *w_kls) > 0.1


def test_gradient_treats_the_mixed_moments_as_constants(toy):
    """Compares each array's directional derivative with differences of NumPy's loss."""
    params, batch, noises, result = differentiate(toy)
    constants = moments_of(toy, params, batch)
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
            ends.append(expected(toy, moved, batch, noises, constants)[0])
        slope = (ends[0] - ends[1]) / (2 * step)
        got = np.sum(actual[place] * direction)
        # Errors of the differences: step² f'''/6, and the rounding of f over the step.
        np.testing.assert_allclose(got, slope, rtol=1e-8, atol=1e-8, err_msg=name)
        # Logits, log-variances and bottleneck have one too, except the absent task's.
        assert np.any(actual[place]) == (f"/{toy.names[4]}/" not in name), name


def test_gradient_is_finite_where_a_text_has_no_features(toy):
    """Its outputs are the biases with the smallest variance."""
    method = vmtl.make(toy.model)
    params, batch = draw_params(toy, method), toy.batch([0] * 16)
    params["method"]["bottleneck"]["mean"]["bias"] = np.full(6, -1e3)

    @jax.jit
    def program(params):
        def value(params):
            result = method.losses(params, batch, RNGS, None)
            return result.losses[0], result.outputs

        return jax.grad(value, has_aux=True)(params)

    gradient, outputs = jax.device_get(program(params))
    biases = np.concatenate([params["heads"][name]["bias"] for name in toy.names])
    # Six standard deviations of the smallest variance.
    np.testing.assert_allclose(
        outputs - biases, np.zeros_like(outputs), atol=6 * np.sqrt(vmtl.TINY)
    )
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(leaf))
    # With one task in the batch only the prior of its classifier is mixed.
    own = gradient["method"]["tasks"][toy.names[0]]
    assert not np.any(own["z_logits"])
    assert np.any(own["w_logits"])


def test_evaluation_reads_the_means_and_has_no_kl_terms(toy):
    model, method = make(toy)
    params, batch = draw_params(toy, method), toy.batch(TASKS)
    program = jax.jit(lambda p, b: method.losses(p, b, None, None))
    result = jax.device_get(program(params, batch))
    mean, _ = posterior_of(params, batch)
    columns = [linear(params["heads"][n], np.maximum(mean, 0)) for n in toy.names]
    outputs = np.concatenate(columns, axis=1)
    np.testing.assert_allclose(result.outputs, outputs, rtol=RTOL, atol=1e-13)
    losses = np.zeros(5)
    for task in range(4):
        rows = np.array(TASKS) == task
        own = np.ix_(rows, model.space.slot_tasks == task)
        losses[task] = task_loss(model.space, task, outputs[own], batch.targets[own])
    np.testing.assert_allclose(result.losses, losses, rtol=RTOL)
    assert result.terms.keys() == {"task"}
    assert result.batch_loss is None


def test_the_classifiers_start_with_little_noise_and_equal_logits(toy):
    added = jax.jit(vmtl.make(toy.model).init)(jax.random.key(0))
    layer = {"kernel": (6, 6), "bias": (6,)}
    assert jax.tree.map(jnp.shape, added) == {
        "bottleneck": {"mean": layer, "log_variance": layer},
        "tasks": {
            name: {"log_variance": (6, size), "z_logits": (5,), "w_logits": (5,)}
            for name, size in toy.model.heads.tasks
        },
    }
    for task in added["tasks"].values():
        assert np.all(task["log_variance"] == -5)
        assert not np.any(task["z_logits"])
        assert not np.any(task["w_logits"])
