"""InfoMTL's loss against Eq. 2, 4 and 7 of the paper in NumPy float64 and PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax.methods import infomtl, randomness
from mtra_jax.models import heads, hidden_heads

# No text of the last task; -1 is an empty place.
TASKS = (0, 3, 1, -1, 2, 0, 1, 1, -1, 3, 3, 2, 0, 1, 0, -1)
ALPHA, BETA, TEMPERATURE, HIDDEN = 0.8, 0.3, 0.4, 3
RTOL = 1e-11
RNGS = {"method": jax.random.key(4), "dropout": jax.random.key(5)}
VARIANTS = {
    "whole": {},
    "linear": {"hidden": 0},
    "by_class": {"kl": "classes"},
    "without_simax": {"simax": False},
    "without_timin": {"timin": False},
    "without_both": {"simax": False, "timin": False},
}
pytestmark = pytest.mark.usefixtures("float64")
each_variant = pytest.mark.parametrize("variant", VARIANTS)


class Noisy:
    """In place of an encoder: a token's row of the table, times noise as dropout."""

    def __init__(self):
        self.keys = []

    def apply(
        self, variables, tokens, segments, positions, wanted, *, deterministic, rngs
    ):
        self.keys.append(rngs.get("dropout"))
        table = variables["params"]["embeddings"]["word_embeddings"]["embedding"]
        tokens = tokens.reshape(-1)[wanted]
        if deterministic:
            return table[tokens]
        return table[tokens] * noise_factors(rngs["dropout"], tokens.shape, table)


def noise_factors(key, shape, table):
    return 1 + 0.4 * jax.random.normal(key, (*shape, table.shape[-1]))


def make(toy, variant):
    model = toy.model
    model = model._replace(encoder=Noisy(), heads=heads.Heads(model.heads.tasks, 0.5))
    options = {"hidden": HIDDEN, **VARIANTS[variant]}
    method = infomtl.make(
        model, alpha=ALPHA, beta=BETA, temperature=TEMPERATURE, **options
    )
    return model, method


def draw_params(toy, method):
    rng = np.random.default_rng(1)
    own = jax.eval_shape(method.init, jax.random.key(0))
    own = jax.tree.map(lambda leaf: 0.6 * rng.normal(size=leaf.shape), own)
    return {**toy.params("ew"), "method": own}


def embeddings_of(params):
    return params["encoder"]["embeddings"]["word_embeddings"]["embedding"]


def draw_noises(model, params, batch):
    """Factors of z, z⁺ and the heads' features [B, H], and the noise of z_t [B, L]."""
    encoder_rng, heads_rng = randomness.dropout_keys(RNGS)
    size, table = len(TASKS), embeddings_of(params)
    keys = encoder_rng, jax.random.fold_in(encoder_rng, infomtl.POSITIVES)
    factors = [noise_factors(key, (1, size), table)[0] for key in keys]
    head_factors = model.head_features(
        params, np.ones((size, model.hidden_size)), heads_rng
    )
    zeros = np.zeros(batch.targets.shape)
    noise = randomness.reparameterize(zeros, zeros, RNGS, None)
    return jax.device_get((*factors, head_factors, noise))


@functools.cache
def differentiate(toy, variant):
    """Returns parameters, batch, noises, and the gradient of a step."""
    model, method = make(toy, variant)
    params, batch = draw_params(toy, method), toy.batch(TASKS)
    program = jax.jit(lambda params, batch: toy.gradient(method, params, batch, RNGS))
    noises = draw_noises(model, params, batch)
    return params, batch, noises, jax.device_get(program(params, batch))


# ---- NumPy, a text at a time


def linear(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def text_loss(is_classification, predicted, wanted):
    if is_classification:
        return -np.sum(wanted * (predicted - np.logaddexp.reduce(predicted)))
    return np.mean((predicted - wanted) ** 2)


def contrast(z, positives):
    """InfoNCE of each z with its positive, by cosine similarity."""

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    losses = []
    for i, query in enumerate(z):
        scores = [cosine(query, key) / TEMPERATURE for key in positives]
        losses.append(np.logaddexp.reduce(scores) - scores[i])
    return np.mean(losses)


def expected(toy, params, batch, noises, variant):
    """The objective, ℓ_t, the KL terms, α InfoNCE, and the outputs in each text's slots."""
    space, options = toy.model.space, VARIANTS[variant]
    factors, positive_factors, head_factors, noise = noises
    rows = embeddings_of(params)[batch.tokens.ravel()]
    z = rows * factors
    losses, kls, outputs = np.zeros(5), np.zeros(5), np.zeros(batch.targets.shape)
    for i in np.flatnonzero(batch.where):
        task = batch.tasks[i]
        count = np.sum(batch.where & (batch.tasks == task))
        name, own = toy.names[task], space.slot_tasks == task
        predicted = linear(params["heads"][name], np.maximum(z[i], 0) * head_factors[i])
        if options.get("timin", True):
            variances = params["method"]["tasks"][name]
            log_variance = np.maximum(z[i], 0)
            if options.get("hidden", HIDDEN):
                log_variance = np.maximum(linear(variances["hidden"], log_variance), 0)
                variances = variances["output"]
            log_variance = linear(variances, log_variance)
            terms = -(1 + log_variance - predicted**2 - np.exp(log_variance)) / 2
            same = batch.where & (batch.tasks == task)
            if options.get("kl") == "classes" and space.is_classification[task]:
                same &= (batch.targets == batch.targets[i]).all(axis=1)
            kls[task] += np.mean(terms) / same.sum()
            predicted = predicted + np.exp(log_variance / 2) * noise[i, own]
        outputs[i, own] = predicted
        wanted = batch.targets[i, own]
        losses[task] += (
            text_loss(space.is_classification[task], predicted, wanted) / count
        )
    nce = 0.0
    if options.get("simax", True):
        positives = rows * positive_factors
        nce = ALPHA * contrast(z[batch.where], positives[batch.where])
    return np.sum(losses + BETA * kls) + nce, losses, kls, nce, outputs


@each_variant
def test_loss_is_that_of_the_paper(toy, variant):
    params, batch, noises, result = differentiate(toy, variant)
    total, losses, kls, nce, _ = expected(toy, params, batch, noises, variant)
    np.testing.assert_allclose(result.objective, total, rtol=RTOL)
    np.testing.assert_allclose(result.terms["task"], losses, rtol=RTOL)
    np.testing.assert_allclose(result.losses, losses + BETA * kls, rtol=RTOL)
    np.testing.assert_array_equal(result.weights, result.present)
    has_simax = VARIANTS[variant].get("simax", True)
    assert (result.scalars.keys() == {"batch_loss"}) == has_simax
    if has_simax:
        np.testing.assert_allclose(result.scalars["batch_loss"], nce, rtol=RTOL)
        assert nce > 0.1
    if VARIANTS[variant].get("timin", True):
        assert result.terms.keys() == {"task", "kl"}
        np.testing.assert_allclose(result.terms["kl"], kls, rtol=RTOL)
        assert kls[:4].min() > 0.1
    else:
        assert result.terms.keys() == {"task"}
        assert params["method"] == {}


@each_variant
def test_gradient_reaches_every_parameter(toy, variant):
    """Compares each array's directional derivative with differences of NumPy's loss."""
    params, batch, noises, result = differentiate(toy, variant)
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
            ends.append(expected(toy, moved, batch, noises, variant)[0])
        slope = (ends[0] - ends[1]) / (2 * step)
        got = np.sum(actual[place] * direction)
        # Errors of the differences: step² f'''/6, and the rounding of f over the step.
        np.testing.assert_allclose(got, slope, rtol=1e-8, atol=1e-8, err_msg=name)
        # Only the parameters of the task without texts have no gradient.
        assert np.any(actual[place]) == (f"/{toy.names[4]}/" not in name), name


# ---- PyTorch, all texts of a task at once


def torch_objective(torch, toy, params, batch, noises, options):
    functional, distributions = torch.nn.functional, torch.distributions
    space = toy.model.space
    factors, positive_factors, head_factors, noise = map(torch.tensor, noises)
    targets = torch.from_numpy(batch.targets)
    tokens = torch.from_numpy(batch.tokens.ravel()).long()
    rows = functional.embedding(tokens, embeddings_of(params))
    z, positives = rows * factors, rows * positive_factors
    total = torch.zeros((), dtype=torch.float64)
    for task in range(space.num_tasks):
        texts = torch.from_numpy(batch.where & (batch.tasks == task))
        if not texts.any():
            continue
        own = torch.from_numpy(space.slot_tasks == task)
        wanted = targets[texts][:, own]
        head = params["heads"][toy.names[task]]
        features = torch.relu(z[texts])
        predicted = functional.linear(
            features * head_factors[texts], head["kernel"].T, head["bias"]
        )
        if options.get("timin", True):
            layer = params["method"]["tasks"][toy.names[task]]
            if options.get("hidden", HIDDEN):
                hidden, layer = layer["hidden"], layer["output"]
                features = torch.relu(
                    functional.linear(features, hidden["kernel"].T, hidden["bias"])
                )
            log_variance = functional.linear(features, layer["kernel"].T, layer["bias"])
            posterior = distributions.Normal(predicted, torch.exp(log_variance / 2))
            prior = distributions.Normal(torch.zeros_like(predicted), 1.0)
            kl = distributions.kl_divergence(posterior, prior).mean(dim=1)
            groups = [torch.ones_like(kl, dtype=torch.bool)]
            if options.get("kl") == "classes" and space.is_classification[task]:
                groups = [wanted.argmax(dim=1) == k for k in range(wanted.shape[1])]
            total = total + BETA * sum(kl[g].mean() for g in groups if g.any())
            predicted = posterior.loc + posterior.scale * noise[texts][:, own]
        if space.is_classification[task]:
            total = total + functional.cross_entropy(predicted, wanted.argmax(dim=1))
        else:
            total = total + functional.mse_loss(predicted, wanted)
    if options.get("simax", True):
        where = torch.from_numpy(batch.where)
        queries, keys = z[where], positives[where]
        cosines = functional.cosine_similarity(queries[:, None], keys[None], dim=-1)
        places = torch.arange(len(queries))
        nce = functional.cross_entropy(cosines / TEMPERATURE, places)
        total = total + ALPHA * nce
    return total


@pytest.mark.torch
@each_variant
def test_loss_and_gradients_are_those_of_pytorch(toy, variant):
    torch = pytest.importorskip("torch")
    params, batch, noises, result = differentiate(toy, variant)
    tensors = jax.tree.map(lambda leaf: torch.tensor(leaf, requires_grad=True), params)
    value = torch_objective(torch, toy, tensors, batch, noises, VARIANTS[variant])
    value.backward()
    np.testing.assert_allclose(result.objective, value.item(), rtol=RTOL)
    flat = jax.tree.leaves_with_path(result.grads)
    for (path, actual), tensor in zip(flat, jax.tree.leaves(tensors), strict=True):
        gradient = tensor.grad
        wanted = np.zeros_like(actual) if gradient is None else gradient.numpy()
        np.testing.assert_allclose(
            actual, wanted, rtol=1e-9, atol=1e-14, err_msg=jax.tree_util.keystr(path)
        )


# ---- passes and evaluation


@pytest.mark.parametrize(
    ("variant", "num_passes"), [("whole", 2), ("without_simax", 1)]
)
def test_positives_come_from_a_second_pass_with_other_dropout(toy, variant, num_passes):
    model, method = make(toy, variant)
    params, batch = draw_params(toy, method), toy.batch(TASKS)

    @jax.jit
    def keys_of(params):
        method.losses(params, batch, RNGS, None)
        _, heads_rng = randomness.dropout_keys(RNGS)
        return [jax.random.key_data(key) for key in (*model.encoder.keys, heads_rng)]

    # The keys of the encoder's passes and of the heads all differ.
    keys = {tuple(key.tolist()) for key in jax.device_get(keys_of(params))}
    assert len(model.encoder.keys) == num_passes
    assert len(keys) == num_passes + 1


@pytest.mark.parametrize("variant", ["whole", "without_timin"])
def test_evaluation_reads_the_means_of_one_pass_without_infonce(toy, variant):
    model, method = make(toy, variant)
    params, batch = draw_params(toy, method), toy.batch(TASKS)
    program = jax.jit(lambda p, b: method.losses(p, b, None, None))
    result = jax.device_get(program(params, batch))
    assert model.encoder.keys == [None]
    still = (1.0, 1.0, np.ones((len(TASKS), 1)), np.zeros(batch.targets.shape))
    _, losses, kls, _, outputs = expected(toy, params, batch, still, variant)
    own = (model.space.slot_tasks == batch.tasks[:, None]) & batch.where[:, None]
    actual = np.where(own, result.outputs, 0)
    np.testing.assert_allclose(actual, outputs, rtol=RTOL, atol=1e-14)
    np.testing.assert_allclose(result.terms["task"], losses, rtol=RTOL)
    np.testing.assert_allclose(result.losses, losses + BETA * kls, rtol=RTOL)
    assert result.batch_loss is None


@pytest.mark.parametrize("variant", ["whole", "linear"])
def test_log_variances_have_separate_layers_for_each_task(toy, variant):
    _, method = make(toy, variant)
    added = jax.eval_shape(method.init, jax.random.key(0))

    def layers(size):
        output = {"kernel": (6, size), "bias": (size,)}
        if variant == "linear":
            return output
        hidden = {"kernel": (6, HIDDEN), "bias": (HIDDEN,)}
        return {"hidden": hidden, "output": {**output, "kernel": (HIDDEN, size)}}

    sizes = dict(toy.model.heads.tasks)
    assert jax.tree.map(jnp.shape, added) == {
        "tasks": {name: layers(size) for name, size in sizes.items()}
    }
    assert make(toy, "without_timin")[1].init(jax.random.key(0)) == {}


def test_hidden_layers_have_the_parameters_that_the_paper_counts():
    """MTRA, Table 19: 576k for the six tasks of TweetEval and a width of 768."""
    names = [f"task{number}" for number in range(6)]
    layers = hidden_heads.HiddenHeads([(name, 3) for name in names], 128)
    added = jax.eval_shape(layers.init, jax.random.key(0), jnp.zeros((1, 768)))
    hidden = [added["params"][name]["hidden"]["kernel"].size for name in names]
    assert sum(hidden) == 576 * 1024
