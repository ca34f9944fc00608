"""STL with CNN against NumPy, which computes one text at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax.methods import randomness, stl_cnn
from mtra_jax.models import heads

WIDTHS = (3, 4, 5)
NUM_FILTERS = 4
# (task, length) of each text in the order of the batch's places; -1 is an empty place.
# Rows mix tasks, and the last task has no text.
TEXTS = (
    (0, 5),
    (3, 1),
    (-1, 0),
    (1, 4),
    (0, 2),
    (2, 7),
    (3, 6),
    (2, 3),
    (-1, 0),
    (1, 5),
)
TASKS = np.array([task for task, _ in TEXTS])
ROWS = ((5, 0), (1, 4, 6, 7), (3, 9))
ROW_LENGTH = 12
RTOL = 1e-11
RNGS = {"method": jax.random.key(4), "dropout": jax.random.key(5)}
pytestmark = pytest.mark.usefixtures("float64")


class Table:
    """In place of an encoder: a token's row of the table; records its calls."""

    def __init__(self):
        self.calls = []

    def apply(
        self, variables, tokens, segments, positions, wanted, *, deterministic, rngs
    ):
        assert wanted is None
        self.calls.append((deterministic, rngs))
        return variables["params"]["embeddings"]["word_embeddings"]["embedding"][tokens]


def make(toy, dropout=0.0):
    model = toy.model
    model = model._replace(
        encoder=Table(), heads=heads.Heads(model.heads.tasks, dropout)
    )
    return model, stl_cnn.make(model, num_filters=NUM_FILTERS)


def make_batch(toy):
    """The toy's batch with texts of several tokens, packed into rows."""
    rng = np.random.default_rng(6)
    shape = len(ROWS), ROW_LENGTH
    segments, positions = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    first_tokens = np.zeros(len(TEXTS), np.int32)
    for row, members in enumerate(ROWS):
        start = 0
        for segment, text in enumerate(members, 1):
            stop = start + TEXTS[text][1]
            segments[row, start:stop] = segment
            positions[row, start:stop] = np.arange(stop - start)
            first_tokens[text] = row * ROW_LENGTH + start
            start = stop
    return toy.batch(TASKS)._replace(
        tokens=rng.integers(7, size=(1, *shape), dtype=np.int32),
        segments=segments[None],
        positions=positions[None],
        first_tokens=first_tokens[None],
    )


def draw_params(toy, method):
    rng = np.random.default_rng(1)
    own = jax.eval_shape(method.init, jax.random.key(0))
    own = jax.tree.map(lambda leaf: 0.25 * rng.normal(size=leaf.shape), own)
    layers = {
        name: {"kernel": 0.5 * rng.normal(size=(12, size)), "bias": np.full(size, 0.1)}
        for name, size in toy.model.heads.tasks
    }
    return {**toy.params("ew"), "heads": layers, "method": own}


def tokens_of(batch, text):
    first = batch.first_tokens[0, text]
    return batch.tokens.reshape(-1)[first : first + TEXTS[text][1]]


def features_of(filters, hidden):
    """The largest response of each filter in the text, filters of 3 tokens first."""
    maxima = []
    for width in WIDTHS:
        kernel, bias = (filters[f"width_{width}"][key] for key in ("kernel", "bias"))
        padded = np.concatenate([hidden, np.zeros((width - 1, hidden.shape[1]))])
        responses = [
            np.tensordot(padded[start : start + width], kernel, 2) + bias
            for start in range(len(hidden))
        ]
        maxima.append(np.maximum(responses, 0).max(axis=0))
    return np.concatenate(maxima)


def expected(toy, params, batch, head_factors=1.0):
    """Returns Σ ℓ_t, ℓ_t [T], and the outputs in each text's slots [B, L]."""
    space = toy.model.space
    table = params["encoder"]["embeddings"]["word_embeddings"]["embedding"]
    head_factors = np.broadcast_to(head_factors, (len(TEXTS), 12))
    losses, outputs = np.zeros(5), np.zeros(batch.targets.shape)
    for text in np.flatnonzero(TASKS >= 0):
        task = TASKS[text]
        name, own = toy.names[task], space.slot_tasks == task
        hidden = table[tokens_of(batch, text)]
        features = (
            features_of(params["method"]["tasks"][name], hidden) * head_factors[text]
        )
        head, wanted = params["heads"][name], batch.targets[text, own]
        predicted = features @ head["kernel"] + head["bias"]
        outputs[text, own] = predicted
        if space.is_classification[task]:
            loss = -np.sum(wanted * (predicted - np.logaddexp.reduce(predicted)))
        else:
            loss = np.mean((predicted - wanted) ** 2)
        losses[task] += loss / np.sum(task == TASKS)
    return losses.sum(), losses, outputs


@functools.cache
def differentiate(toy):
    """Returns parameters, batch, dropout factors, encoder calls, gradient of a step."""
    model, method = make(toy, dropout=0.5)
    params, batch = draw_params(toy, method), make_batch(toy)

    @jax.jit
    def program(params, batch):
        result = toy.gradient(method, params, batch, RNGS)
        _, heads_rng = randomness.dropout_keys(RNGS)
        ones = jnp.ones((len(TEXTS), method.num_features))
        return result, model.head_features(params, ones, heads_rng)

    result, head_factors = jax.device_get(program(params, batch))
    return params, batch, head_factors, model.encoder.calls, result


def test_each_text_takes_the_filters_and_the_head_of_its_task(toy):
    params, batch, head_factors, _, result = differentiate(toy)
    total, losses, _ = expected(toy, params, batch, head_factors)
    assert set(np.unique(head_factors)) == {0, 2}
    assert losses[:4].min() > 0.1
    np.testing.assert_allclose(result.losses, losses, rtol=RTOL)
    assert result.terms.keys() == {"task"}
    np.testing.assert_allclose(result.terms["task"], losses, rtol=RTOL)
    np.testing.assert_allclose(result.objective, total, rtol=RTOL)
    np.testing.assert_array_equal(result.weights, result.present)
    assert result.scalars == {}


def test_evaluation_gives_the_same_features_without_dropout(toy):
    model, method = make(toy, dropout=0.5)
    params, batch = draw_params(toy, method), make_batch(toy)
    program = jax.jit(lambda p, b: method.losses(p, b, None, None))
    result = jax.device_get(program(params, batch))
    _, losses, outputs = expected(toy, params, batch)
    own = (model.space.slot_tasks == batch.tasks[:, None]) & batch.where[:, None]
    actual = np.where(own, result.outputs, 0)
    np.testing.assert_allclose(actual, outputs, rtol=RTOL, atol=1e-14)
    np.testing.assert_allclose(result.losses, losses, rtol=RTOL)


def test_the_encoder_is_frozen(toy):
    """The gradient is exactly 0, and training has no dropout in the encoder."""
    *_, calls, result = differentiate(toy)
    assert calls == [(True, {})]
    for leaf in jax.tree.leaves(result.grads["encoder"]):
        assert not np.any(leaf)


def test_gradient_reaches_every_filter_and_head(toy):
    """Compares each array's directional derivative with differences of NumPy's loss."""
    params, batch, head_factors, _, result = differentiate(toy)
    leaves, structure = jax.tree.flatten(params)
    paths = [path for path, _ in jax.tree.leaves_with_path(params)]
    actual = jax.tree.leaves(result.grads)
    rng, step = np.random.default_rng(2), 1e-5
    for place, leaf in enumerate(leaves):
        name = jax.tree_util.keystr(paths[place], simple=True, separator="/")
        if name.startswith("encoder/"):
            continue
        direction, ends = rng.normal(size=leaf.shape), []
        for distance in (step, -step):
            moved = [*leaves]
            moved[place] = leaf + distance * direction
            moved = structure.unflatten(moved)
            ends.append(expected(toy, moved, batch, head_factors)[0])
        slope = (ends[0] - ends[1]) / (2 * step)
        got = np.sum(actual[place] * direction)
        # Errors of the differences: step² f'''/6, and the rounding of f over the step.
        np.testing.assert_allclose(got, slope, rtol=1e-8, atol=1e-8, err_msg=name)
        # Only the parameters of the task without texts have no gradient.
        assert np.any(actual[place]) == (f"/{toy.names[4]}/" not in name), name


def test_filters_of_different_tasks_start_from_independent_draws(toy):
    method = stl_cnn.make(toy.model, num_filters=400)
    tasks = jax.device_get(jax.jit(method.init)(jax.random.key(0)))["tasks"]
    assert tasks.keys() == set(toy.names)
    kernels = []
    for task in tasks.values():
        assert task.keys() == {f"width_{width}" for width in WIDTHS}
        for width in WIDTHS:
            layer = task[f"width_{width}"]
            assert layer["kernel"].shape == (width, 6, 400)
            np.testing.assert_array_equal(layer["bias"], np.zeros(400))
            # The variance is 1 / inputs of the filter, within four standard errors.
            size = layer["kernel"].size
            spread = np.std(layer["kernel"]) * np.sqrt(6 * width)
            np.testing.assert_allclose(spread, 1, rtol=4 / np.sqrt(2 * size))
            kernels.append(layer["kernel"][0, 0] * np.sqrt(6 * width))
    # No two of the fifteen are correlated: 400 draws each, five standard errors.
    related = np.abs(np.corrcoef(kernels) - np.eye(len(kernels)))
    assert related.max() < 5 / np.sqrt(400)


def test_heads_read_all_filters(toy):
    assert make(toy)[1].num_features == 3 * NUM_FILTERS


def test_a_task_has_the_two_million_parameters_of_the_paper(toy):
    """Table 3: 110M + 6 × 2M, on 768 dimensions."""
    method = stl_cnn.make(toy.model._replace(hidden_size=768))
    tasks = jax.eval_shape(method.init, jax.random.key(0))["tasks"]
    for task in tasks.values():
        count = sum(leaf.size for leaf in jax.tree.leaves(task))
        assert round(count / 1e6, 2) == 2.0
