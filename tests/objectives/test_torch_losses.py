"""The losses beside PyTorch's in float64: values and gradients, on 1, 2 and 4 devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import objectives

pytestmark = pytest.mark.torch

NUM_ROWS, NUM_CLASSES = 8, 5
WHERE = np.array([True, True, False, True, True, False, True, False])
WEIGHTS = np.array([0.3, 1.0, 2.5, 0.0, 4.0])
OPTIONS = {
    "plain": {},
    "weights": {"weights": WEIGHTS},
    "smoothing": {"smoothing": 0.1},
    "both": {"weights": WEIGHTS, "smoothing": 0.1},
}


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def on_devices(function, num_devices, logits, targets):
    """Value and gradients by the logits of `function`, rows spread over devices."""

    def shard(x):
        return x.reshape(num_devices, -1, *x.shape[1:])

    value, gradient = jax.pmap(
        lambda x, y, where: jax.value_and_grad(function)(x, y, where, "data"),
        axis_name="data",
        devices=jax.devices()[:num_devices],
    )(shard(logits), shard(targets), shard(WHERE))
    assert len(set(np.asarray(value).tolist())) == 1
    gradient = np.asarray(gradient).reshape(logits.shape) / num_devices
    assert not gradient[~WHERE].any()
    return np.asarray(value)[0], gradient[WHERE]


def of_torch(torch, loss, logits, targets):
    logits = torch.tensor(logits[WHERE], requires_grad=True)
    value = loss(logits, torch.tensor(targets[WHERE]))
    value.backward()
    return value.item(), logits.grad.numpy()


@pytest.mark.parametrize("num_devices", [1, 2, 4])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_cross_entropy_equals_that_of_pytorch(torch, x64, options, num_devices):
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(NUM_ROWS, NUM_CLASSES))
    classes = rng.integers(NUM_CLASSES, size=NUM_ROWS)
    weights = options.get("weights")
    loss = torch.nn.CrossEntropyLoss(
        weight=None if weights is None else torch.tensor(weights),
        label_smoothing=options.get("smoothing", 0.0),
    )
    expected = of_torch(torch, loss, logits, classes)

    def function(logits, targets, where, axis_name):
        return objectives.cross_entropy(logits, targets, where, axis_name, **options)

    targets = np.eye(NUM_CLASSES)[classes]
    actual = on_devices(function, num_devices, logits, targets)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-13)
    np.testing.assert_allclose(actual[1], expected[1], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_binary_cross_entropy_equals_that_of_pytorch(torch, x64, num_devices):
    rng = np.random.default_rng(1)
    logits = 5 * rng.normal(size=(NUM_ROWS, NUM_CLASSES))
    targets = rng.integers(2, size=logits.shape).astype(np.float64)
    loss = torch.nn.BCEWithLogitsLoss()
    expected = of_torch(torch, loss, logits, targets)
    function = objectives.binary_cross_entropy
    actual = on_devices(function, num_devices, logits, targets)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-13)
    np.testing.assert_allclose(actual[1], expected[1], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("smoothing", [-0.1, 1, 1.5, float("nan")])
def test_a_smoothing_out_of_range_is_refused(smoothing):
    logits, targets = jnp.zeros((2, 3)), jnp.eye(3)[:2]
    with pytest.raises(ValueError, match=rf"in \[0, 1\); found {smoothing}"):
        objectives.cross_entropy(logits, targets, smoothing=smoothing)
