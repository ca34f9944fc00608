"""Activations against PyTorch's, values and slopes, over all that `transformers` names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax.models.activations import ACTIVATIONS

# Both sides of each kink and bound, zero, and where exponentials overflow.
INPUTS = np.concatenate(
    [np.linspace(-12, 12, 481), [-1e4, -90.0, -25.0, 19.9, 20.1, 25.0, 90.0, 1e4]]
)
TOLERANCES = {"float32": 2e-6, "float64": 1e-14}


def ours(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(INPUTS, dtype)
        values = ACTIVATIONS[name](x)
        slopes = jax.vmap(jax.grad(ACTIVATIONS[name]))(x)
        assert values.dtype == slopes.dtype == dtype
        return np.asarray(values), np.asarray(slopes)


@pytest.fixture(scope="module")
def theirs():
    pytest.importorskip("torch")
    from transformers.activations import ACT2FN

    return ACT2FN


@pytest.mark.torch
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_slopes_are_pytorchs(theirs, name, dtype):
    torch = pytest.importorskip("torch")
    if name not in theirs:
        pytest.skip(f"this transformers has no {name}")
    x = torch.tensor(INPUTS, dtype=getattr(torch, dtype), requires_grad=True)
    values = theirs[name](x)
    values.sum().backward()
    result, slopes = ours(name, dtype)
    options = {"rtol": TOLERANCES[dtype], "atol": TOLERANCES[dtype]}
    np.testing.assert_allclose(result, values.detach().numpy(), **options)
    # Kinks have no slope; at the square root's zero PyTorch's is no number, either.
    smooth = ~np.isin(INPUTS, (-10, -3, 0, 3, 6, 10)) & np.isfinite(x.grad.numpy())
    options = {"rtol": 20 * TOLERANCES[dtype], "atol": 20 * TOLERANCES[dtype]}
    np.testing.assert_allclose(slopes[smooth], x.grad.numpy()[smooth], **options)


@pytest.mark.torch
def test_each_function_of_transformers_without_parameters_is_there(theirs):
    plain = {name for name in theirs if not list(theirs[name].parameters())}
    assert plain <= ACTIVATIONS.keys()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_half_precision_stays_so(name):
    x = jnp.asarray([-2.0, 0.5, 3.0], jnp.bfloat16)
    result = ACTIVATIONS[name](x)
    assert result.dtype == jnp.bfloat16
    exact = ACTIVATIONS[name](x.astype(jnp.float32))
    np.testing.assert_allclose(result.astype(jnp.float32), exact, rtol=0.03, atol=0.01)
