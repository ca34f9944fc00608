"""Filters on packed rows against one text at a time, in NumPy and in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax.models import convolution
from mtra_jax.types import Batch

HIDDEN = 3
ROW_LENGTH = 12
WIDTHS = (3, 4, 5)
NUM_FILTERS = 4
# Shorter than every window, as long as one, longer than all; a row's length; 12 in all.
LENGTHS = (5, 1, 2, 3, 4, 7, 12, 1, 6, 5, 2, 3)
# Rows of texts in their order. The three in the middle are full: a text ends where its
# row does. What lies behind the others is padding.
PACKING = ((0, 1, 2), (5, 9), (6,), (8, 4, 10), (3, 7, 11))
# Where each text's features go; slots 2, 7 and 14 hold no text.
SLOTS = (3, 0, 8, 4, 1, 5, 13, 6, 10, 9, 12, 11)
NUM_SLOTS = 15
GARBAGE = 1e3
"""The hidden states of padding, which are finite and arbitrary."""

convolve = jax.jit(convolution.convolve)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def draw_texts(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, HIDDEN)) for length in LENGTHS]


def draw_filters(seed=1, num_filters=NUM_FILTERS):
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(width, HIDDEN, num_filters)), rng.normal(size=num_filters))
        for width in WIDTHS
    ]


def pack(texts, packing=PACKING, slots=SLOTS):
    """Hidden states [R, S, H] of the packed texts, and their batch."""
    shape = len(packing), ROW_LENGTH
    hidden = np.full((*shape, HIDDEN), GARBAGE)
    segments, positions = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    first_tokens, where = np.zeros(NUM_SLOTS, np.int32), np.zeros(NUM_SLOTS, bool)
    for row, members in enumerate(packing):
        start = 0
        for segment, text in enumerate(members, 1):
            own = slice(start, start + len(texts[text]))
            hidden[row, own] = texts[text]
            segments[row, own] = segment
            positions[row, own] = np.arange(len(texts[text]))
            first_tokens[slots[text]] = row * ROW_LENGTH + start
            where[slots[text]] = True
            start = own.stop
        assert start <= ROW_LENGTH
    nothing = np.zeros(NUM_SLOTS, np.int32)
    batch = Batch(
        np.zeros((1, *shape), np.int32),
        segments[None],
        positions[None],
        np.zeros((1, *shape), np.int32),
        first_tokens[None],
        where,
        nothing,
        np.zeros((NUM_SLOTS, 1)),
        nothing,
    )
    return hidden, batch


def features_of_text(text, filters):
    """max over time of relu(Σ_k x_{i+k} W_k + b), with zeros behind the text."""
    actual = []
    for kernel, bias in filters:
        width = len(kernel)
        padded = np.concatenate([text, np.zeros((width - 1, HIDDEN))])
        responses = [
            np.einsum("kh,khf->f", padded[start : start + width], kernel) + bias
            for start in range(len(text))
        ]
        actual.append(np.maximum(responses, 0).max(axis=0))
    return np.concatenate(actual)


def expected_features(texts, filters, slots=SLOTS):
    features = np.zeros((NUM_SLOTS, sum(len(bias) for _, bias in filters)))
    for text, slot in zip(texts, slots, strict=True):
        features[slot] = features_of_text(text, filters)
    return features


def test_features_are_those_of_each_text_alone():
    texts, filters = draw_texts(), draw_filters()
    hidden, batch = pack(texts)
    actual = convolve(hidden, batch, filters)
    expected = expected_features(texts, filters)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)
    # Some filters have no response in a text; most have one.
    share = np.mean(expected[np.array(SLOTS)] > 0)
    assert 0.5 < share < 1


def test_slots_without_a_text_are_zero():
    hidden, batch = pack(draw_texts())
    filters = [(kernel, bias + 50) for kernel, bias in draw_filters()]
    actual = np.asarray(convolve(hidden, batch, filters))
    assert not np.any(actual[~batch.where])
    assert np.all(actual[batch.where] > 0)


def test_the_packing_changes_nothing():
    """Rows of the texts and their order within a row do not matter."""
    texts, filters = draw_texts(), draw_filters()
    expected = convolve(*pack(texts), filters)
    others = [
        ((6,), (11, 7, 3), (2, 1, 0), (10, 4, 8), (9, 5)),
        ((9, 0, 2), (4, 8, 1), (6,), (5, 3, 7), (10, 11)),
    ]
    for packing in others:
        actual = convolve(*pack(texts, packing), filters)
        np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=1e-15)


def test_the_slots_follow_the_first_tokens():
    texts, filters = draw_texts(), draw_filters()
    slots = SLOTS[::-1]
    actual = convolve(*pack(texts, slots=slots), filters)
    expected = expected_features(texts, filters, slots)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


def test_windows_end_with_their_text():
    """A filter that reads the last of its three tokens, on texts of ones."""
    kernel = np.zeros((3, HIDDEN, 1))
    kernel[2] = 1
    texts = [np.ones((length, HIDDEN)) for length in LENGTHS]
    hidden, batch = pack(texts)
    actual = convolve(hidden, batch, [(kernel, np.zeros(1))])
    for length, slot in zip(LENGTHS, SLOTS, strict=True):
        assert actual[slot, 0] == (HIDDEN if length >= 3 else 0)


def test_windows_hold_each_token_and_those_behind_it():
    hidden = np.arange(1.0, 7).reshape(1, 6, 1)
    segments = np.array([[1, 1, 1, 2, 2, 0]])
    actual = convolution.window(hidden, segments, 3)
    expected = [[1, 2, 3], [2, 3, 0], [3, 0, 0], [4, 5, 0], [5, 0, 0]]
    np.testing.assert_array_equal(actual[0, :5], expected)


def test_each_token_is_assigned_to_its_text():
    _, batch = pack(draw_texts())
    actual = np.asarray(convolution.text_of_tokens(batch)).reshape(-1, ROW_LENGTH)
    expected = np.full_like(actual, NUM_SLOTS)
    for row, members in enumerate(PACKING):
        start = 0
        for text in members:
            expected[row, start : start + LENGTHS[text]] = SLOTS[text]
            start += LENGTHS[text]
    np.testing.assert_array_equal(actual, expected)


def test_features_of_a_batch_without_texts_are_zero():
    hidden, batch = pack(draw_texts())
    empty = batch._replace(
        segments=np.zeros_like(batch.segments),
        positions=np.zeros_like(batch.positions),
        first_tokens=np.zeros_like(batch.first_tokens),
        where=np.zeros_like(batch.where),
    )
    assert not np.any(convolve(hidden, empty, draw_filters()))


def test_gradients_are_those_of_the_largest_responses():
    """Gradients of states and filters along random directions, against differences."""
    texts, filters = draw_texts(), draw_filters()
    hidden, batch = pack(texts)
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(NUM_SLOTS, len(WIDTHS) * NUM_FILTERS))

    @jax.jit
    def gradient(hidden, filters):
        def value(hidden, filters):
            return jnp.sum(weights * convolution.convolve(hidden, batch, filters))

        return jax.grad(value, (0, 1))(hidden, filters)

    by_hidden, by_filters = gradient(hidden, filters)
    assert not np.any(np.asarray(by_hidden)[batch.segments[0] == 0])

    step = 1e-6

    def slope(texts_along, filters_along):
        ends = []
        for distance in (step, -step):
            moved = jax.tree.map(
                lambda x, d, by=distance: x + by * d,
                (texts, filters),
                (texts_along, filters_along),
            )
            ends.append(np.sum(weights * expected_features(*moved)))
        return (ends[0] - ends[1]) / (2 * step)

    still_texts = [np.zeros_like(text) for text in texts]
    still_filters = jax.tree.map(np.zeros_like, filters)
    texts_along = [rng.normal(size=text.shape) for text in texts]
    # Piecewise linear: only the roundings of a sum of about 100 remain.
    actual = np.sum(
        by_hidden * pack(texts_along)[0] * (batch.segments[0] > 0)[..., None]
    )
    np.testing.assert_allclose(actual, slope(texts_along, still_filters), atol=1e-7)
    filters_along = draw_filters(seed=3)
    for place in range(len(WIDTHS)):
        for part in range(2):
            along = jax.tree.map(np.copy, still_filters)
            pair = list(along[place])
            pair[part] = filters_along[place][part]
            along[place] = tuple(pair)
            actual = np.sum(by_filters[place][part] * filters_along[place][part])
            expected = slope(still_texts, along)
            assert abs(expected) > 0.1
            np.testing.assert_allclose(actual, expected, atol=1e-7)


@pytest.mark.torch
def test_features_are_those_of_pytorch():
    """conv1d with padding behind the text, relu, maximum; and its autograd."""
    torch = pytest.importorskip("torch")
    texts, filters = draw_texts(), draw_filters()
    hidden, batch = pack(texts)
    weights = np.random.default_rng(2).normal(size=(NUM_SLOTS, 12))
    leaves = [
        tuple(torch.tensor(part, requires_grad=True) for part in pair)
        for pair in filters
    ]
    features = {}
    for text, slot in zip(texts, SLOTS, strict=True):
        x = torch.tensor(text.T)[None]
        columns = []
        for kernel, bias in leaves:
            padded = torch.nn.functional.pad(x, (0, len(kernel) - 1))
            # [width, H, F] here, [F, H, width] there.
            actual = torch.nn.functional.conv1d(padded, kernel.permute(2, 1, 0), bias)
            columns.append(torch.relu(actual).amax(dim=2)[0])
        features[slot] = torch.cat(columns)
    value = sum((torch.tensor(weights[slot]) * f).sum() for slot, f in features.items())
    value.backward()

    @jax.jit
    def differentiate(filters):
        def value(filters):
            actual = convolution.convolve(hidden, batch, filters)
            return jnp.sum(weights * actual), actual

        return jax.grad(value, has_aux=True)(filters)

    gradients, actual = differentiate(filters)
    for slot, expected in features.items():
        expected = expected.detach().numpy()
        np.testing.assert_allclose(actual[slot], expected, rtol=1e-12, atol=1e-14)
    for pair, expected in zip(gradients, leaves, strict=True):
        for got, leaf in zip(pair, expected, strict=True):
            np.testing.assert_allclose(got, leaf.grad.numpy(), rtol=1e-11, atol=1e-13)
