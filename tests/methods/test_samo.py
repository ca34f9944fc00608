"""Steps of SAMO against its formula on gradients that NumPy computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import balancing
from mtra_jax.balancing import sharpness
from mtra_jax.methods import gradients, perturbed, registry

RHO, ALPHA, MU = 0.3, 0.4, 0.02


def unit(tree):
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree)))
    return jax.tree.map(lambda leaf: leaf / norm, tree)


def table_of(tree):
    return tree["encoder"]["embeddings"]["word_embeddings"]["embedding"]


def with_table(params, table):
    return {
        **params,
        "encoder": {"embeddings": {"word_embeddings": {"embedding": table}}},
    }


def samo_by_hand(toy, params, batch, present, rng):
    """Losses [T], rows [T, ...] of the encoder, and the gradients of the heads."""
    losses, grads = toy.losses_and_gradients(params, batch)
    table, mean = table_of(params), sum(map(table_of, grads))
    rows, heads = np.zeros((5, *table.shape)), {}
    keys = sharpness.task_keys(rng, 5)
    count = len(jax.tree.leaves(params))
    for task, name in enumerate(toy.names):
        if not present[task]:
            heads[name] = jax.tree.map(np.zeros_like, params["heads"][name])
            continue
        # The table is the first leaf.
        z = np.asarray(
            jax.random.normal(jax.random.split(keys[task], count)[0], table.shape)
        )
        ahead, behind = (
            toy.losses_and_gradients(with_table(params, table + s * z), batch)[0][task]
            for s in (MU, -MU)
        )
        estimate = (ahead - behind) / (2 * MU) * z
        local = np.linalg.norm(mean) * unit(estimate)
        moved = with_table(
            params, table + RHO * unit(ALPHA * mean + (1 - ALPHA) * local)
        )
        step = unit(grads[task]["heads"][name])
        head = jax.tree.map(lambda p, s: p + RHO * s, params["heads"][name], step)
        moved["heads"] = {**params["heads"], name: head}
        _, at_moved = toy.losses_and_gradients(moved, batch)
        rows[task] = table_of(at_moved[task])
        heads[name] = at_moved[task]["heads"][name]
    return losses, rows, heads


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("balancer", ["sum", "fairgrad"])
def test_a_step_is_that_of_the_formula(toy, balancer, mixture):
    options = {"balancer": balancer, "rho": RHO, "alpha": ALPHA, "mu": MU}
    method = registry.make("samo", toy.model, **options)
    params, batch, rngs = toy.params("samo"), toy.batch(mixture), toy.rngs(0)
    result = jax.jit(lambda: toy.gradient(method, params, batch, rngs))()
    present = np.isin(np.arange(5), mixture)
    losses, rows, heads = samo_by_hand(toy, params, batch, present, rngs["method"])
    np.testing.assert_allclose(result.losses, np.where(present, losses, 0), rtol=1e-9)
    weights = present.astype(float)
    if balancer == "fairgrad":
        flat = rows.reshape(5, -1)
        inputs = balancing.Inputs(
            jnp.asarray(losses), jnp.asarray(present), None, jnp.asarray(flat @ flat.T)
        )
        weights = balancing.fairgrad().combine(inputs, balancing.State()).value
    np.testing.assert_allclose(result.weights, weights, rtol=1e-6)
    expected = np.tensordot(weights, rows, 1)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        table_of(result.grads), expected, rtol=1e-6, atol=1e-9 * scale
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-12),
        result.grads["heads"],
        heads,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_four_devices_equal_one_and_the_step_compiles_once(toy):
    one, four = (toy.program("samo", count) for count in (1, 4))
    state = toy.state("samo")
    for name in ("all", "two_absent"):
        tasks = toy.mixtures[name]
        expected, _ = one(state, toy.batch(tasks, 1))
        actual, _ = four(state, toy.batch(tasks, 4))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12),
            actual.params,
            expected.params,
        )
    assert one.num_compilations == four.num_compilations == 1


def test_heads_belong_to_tasks_and_layers_are_stacked():
    params = {
        "encoder": {"embeddings": {"e": 0.0}, "layers": {"kernel": 0.0}},
        "heads": {"b": {"bias": 0.0}, "a": {"bias": 0.0}},
        "method": {},
    }
    leaves = perturbed.leaves_of(params, ("a", "b"))
    assert leaves.owners == [sharpness.SHARED, sharpness.SHARED, 0, 1]
    assert leaves.stacked == [False, True, False, False]


def test_samo_reads_the_gramian_in_two_passes():
    method = registry.example("samo")
    assert (method.reads, method.passes) == ("Gramian", 2)


@pytest.mark.parametrize("name", ["ew", "graddrop", "mtra"])
def test_perturbed_gradients_are_for_balancers_of_the_gramian(toy, name):
    method = toy.make(name)._replace(sharpness=sharpness.Sharpness(RHO, ALPHA, MU))
    with pytest.raises(ValueError, match="`sharpness` needs a balancer that reads the"):
        gradients.differentiate(
            method,
            toy.params(name),
            toy.batch(toy.mixtures["all"]),
            toy.rngs(0),
            (),
            tasks=toy.names,
            one_task=False,
            axis_name=None,
        )
