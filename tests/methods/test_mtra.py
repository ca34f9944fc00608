"""MTRA's bounds, ℓ_TA and ablations against NumPy float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from mtra_jax.balancing import Reads
from mtra_jax.methods import alignment, contract, gradients, mtra, task_losses
from mtra_jax.methods.model import CRITIC

TOY = toys.Toy()
SPACE, NUM_SLOTS, HIDDEN = TOY.model.space, len(TOY.slots), toys.HIDDEN
IS_CLASSIFICATION = SPACE.is_classification
WIDTH = 6
# 16 texts for up to four devices, with padding between them; "delta" and "epsilon" absent.
TASKS = np.array([0, 2, 1, -1, 2, 0, 1, 1, -1, 2, 2, 0, -1, 1, 0, 1])
RTOL = 1e-11


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def make_batch():
    return TOY.batch(TASKS)


def draw_params():
    rng = np.random.default_rng(1)
    statistics = {
        "from_z": {
            "kernel": rng.normal(size=(HIDDEN, WIDTH)),
            "bias": rng.normal(size=WIDTH),
        },
        "from_y": {"kernel": rng.normal(size=(NUM_SLOTS, WIDTH))},
        "score": {"kernel": rng.normal(size=(WIDTH, 1))},
    }
    return {**TOY.params("ew"), "method": {"statistics": statistics}}


def representations_of(params, batch):
    """z [B, H]."""
    return embeddings_of(params)[batch.tokens.ravel()]


def embeddings_of(params):
    return params["encoder"]["embeddings"]["word_embeddings"]["embedding"]


def score(z, y):
    """A non-monotone critic for NumPy and JAX arrays, with scores of about ±4."""
    scale = np.linspace(-1.0, 2.0, HIDDEN)
    slots = np.linspace(1.0, -2.0, NUM_SLOTS)
    return (z * scale).sum(-1) + ((y + 0.5) ** 2 * slots).sum(-1) * (1 + z[..., 0])


def network_score(params):
    """V(y|z) = w₃ᵀ relu(W₁ z + W₂ y + b) in NumPy."""
    network = params["method"]["statistics"]

    def score(z, y):
        hidden = z @ network["from_z"]["kernel"] + network["from_z"]["bias"]
        hidden = hidden + y @ network["from_y"]["kernel"]
        return (np.maximum(hidden, 0) @ network["score"]["kernel"])[..., 0]

    return score


CLIP = 1.5
ESTIMATES = [
    alignment.Estimate(bound, marginal, CLIP)
    for bound in alignment.BOUNDS
    for marginal in alignment.MARGINALS
    if (bound, marginal) != ("info_nce", "shuffle")  # the same as with all pairs
]


def expected_bounds(score, z, batch, estimate):
    bounds = np.zeros(5)
    for task in range(5):
        rows = np.flatnonzero(task == TASKS)
        if not len(rows):
            continue
        joint = np.array([score(z[i], batch.targets[i]) for i in rows])
        columns = dict.fromkeys(rows, rows)
        if estimate.marginal == "shuffle" and estimate.bound != "info_nce":
            columns = {i: [batch.partners[i]] for i in rows}
        pairs = np.array(
            [[score(z[i], batch.targets[j]) for j in columns[i]] for i in rows]
        )
        bounds[task] = NUMPY_BOUNDS[estimate.bound](joint, pairs)
    return bounds


def smile(joint, pairs):
    ratios = np.clip(np.exp(pairs), math.exp(-CLIP), math.exp(CLIP))
    return joint.mean() - math.log(ratios.mean())


def jsd(joint, pairs):
    """Cross-entropies of a classifier of joint and marginal pairs, with fair odds at 0."""
    of_joint, of_pairs = 1 / (1 + np.exp(-joint)), 1 / (1 + np.exp(-pairs))
    return math.log(4) + np.log(of_joint).mean() + np.log(1 - of_pairs).mean()


NUMPY_BOUNDS = {
    "mine": lambda joint, pairs: joint.mean() - math.log(np.exp(pairs).mean()),
    "smile": smile,
    "info_nce": lambda joint, pairs: np.mean(joint - np.log(np.exp(pairs).mean(1))),
    "jsd": jsd,
}


def expected_task_losses(params, z, batch):
    losses = np.zeros(5)
    for task, name in enumerate(TOY.names):
        rows = np.flatnonzero(task == TASKS)
        layer, own = params["heads"][name], SPACE.slot_tasks == task
        predicted = np.maximum(z[rows], 0) @ layer["kernel"] + layer["bias"]
        wanted = batch.targets[np.ix_(rows, own)]
        if not len(rows):
            continue
        if SPACE.is_classification[task]:
            log_total = np.logaddexp.reduce(predicted, axis=1, keepdims=True)
            losses[task] = -np.sum(wanted * (predicted - log_total), axis=1).mean()
        else:
            losses[task] = np.mean((predicted - wanted) ** 2)
    return losses


@pytest.mark.parametrize("estimate", ESTIMATES, ids=lambda x: f"{x.bound}-{x.marginal}")
@pytest.mark.parametrize("num_devices", [1, 4])
def test_bound_of_each_task(estimate, num_devices):
    """With tasks unevenly distributed over devices, and partners on other devices."""
    batch = make_batch()
    z = np.random.default_rng(2).normal(size=(len(TASKS), HIDDEN))
    expected = expected_bounds(score, z, batch, estimate)
    devices = range(num_devices)
    shards = jax.tree.map(
        lambda x: np.stack([x[device::num_devices] for device in devices]),
        (z, batch.where, batch.tasks, batch.targets, batch.partners),
    )

    def bounds(z, where, tasks, targets, partners):
        shard = batch._replace(
            where=where, tasks=tasks, targets=targets, partners=partners
        )
        return alignment.bound_per_task(score, z, shard, 5, estimate, "data")

    program = jax.pmap(
        bounds,
        axis_name="data",
        out_axes=None,
        devices=jax.devices()[:num_devices],
    )
    actual = program(*shards)
    # InfoNCE is 0 up to rounding for the first task, whose texts have one class.
    np.testing.assert_allclose(actual, expected, rtol=RTOL, atol=1e-15)
    assert not np.any(actual[3:])
    if estimate.bound != "info_nce":
        assert np.abs(expected[:3]).min() > 0.1


@pytest.mark.parametrize("estimate", ESTIMATES, ids=lambda x: f"{x.bound}-{x.marginal}")
def test_padding_rows_change_no_bound(estimate):
    batch = make_batch()
    z = np.random.default_rng(2).normal(size=(len(TASKS), HIDDEN))
    empty = ~batch.where
    disturbed = batch._replace(
        targets=np.where(empty[:, None], 50.0, batch.targets),
        tasks=np.where(empty, 1, batch.tasks).astype(np.int32),
    )
    bounds = jax.jit(
        lambda z, batch: alignment.bound_per_task(score, z, batch, 5, estimate, None)
    )
    expected = bounds(z, batch)
    actual = bounds(np.where(empty[:, None], 50.0, z), disturbed)
    np.testing.assert_array_equal(actual, expected)


def losses_of(options, params, rngs=None):
    model = TOY.model
    method = mtra.make(model, width=WIDTH, **options)
    program = jax.jit(lambda params, batch: method.losses(params, batch, rngs, None))
    return program(params, make_batch())


@pytest.mark.parametrize("marginal", alignment.MARGINALS)
@pytest.mark.parametrize("beta", [2.5, 0.0])
def test_losses_are_the_tasks_less_beta_times_the_bounds(marginal, beta):
    params, batch = draw_params(), make_batch()
    result = losses_of({"beta": beta, "marginal": marginal}, params)
    z = representations_of(params, batch)
    task = expected_task_losses(params, z, batch)
    estimate = alignment.Estimate("mine", marginal)
    bounds = expected_bounds(network_score(params), z, batch, estimate)
    assert result.terms.keys() == {"task", "mi"}
    np.testing.assert_allclose(result.terms["task"], task, rtol=RTOL)
    np.testing.assert_allclose(result.terms["mi"], bounds, rtol=RTOL)
    np.testing.assert_allclose(result.losses, task - beta * bounds, rtol=RTOL)


def test_a_bound_above_the_entropy_of_the_labels_counts_as_the_entropy():
    """Tasks of regression have no ceiling; the bound itself is logged."""
    params, batch = draw_params(), make_batch()
    z = representations_of(params, batch)
    bounds = expected_bounds(network_score(params), z, batch, alignment.Estimate())
    ceilings = np.where(IS_CLASSIFICATION, bounds - 0.25, math.inf)
    space = SPACE._replace(label_entropies=ceilings)
    model = TOY.model._replace(space=space)
    method = mtra.make(model, width=WIDTH, cap=True, beta=2.0)
    result = jax.jit(lambda p, b: method.losses(p, b, None, None))(params, batch)
    counted = np.where(IS_CLASSIFICATION, ceilings, bounds)
    expected = expected_task_losses(params, z, batch) - 2.0 * counted
    np.testing.assert_allclose(result.losses, expected, rtol=RTOL)
    np.testing.assert_allclose(result.terms["mi"], bounds, rtol=RTOL)

    def first(params):
        return method.losses(params, batch, None, None).losses[0]

    gradient = jax.jit(jax.grad(first))(params)
    for leaf in jax.tree.leaves(gradient["method"]):
        assert not np.any(leaf)


def test_the_cap_needs_the_entropies_in_training_alone():
    method = mtra.make(TOY.model, width=WIDTH, cap=True)
    params, batch = draw_params(), make_batch()
    rngs = {"method": jax.random.key(0), "dropout": jax.random.key(1)}
    jax.eval_shape(lambda p: method.losses(p, batch, None, None), params)
    with pytest.raises(ValueError, match="label_entropies"):
        jax.eval_shape(lambda p: method.losses(p, batch, rngs, None), params)


def test_evaluation_has_the_whole_weight_of_the_bound():
    params = draw_params()
    expected = losses_of({"beta": 3.0}, params)
    result = losses_of({"beta": 3.0, "balance": "pull"}, params)
    assert result.terms.keys() == {"task", "mi"}
    np.testing.assert_array_equal(result.losses, expected.losses)


@pytest.mark.parametrize("scale", [1e-3, 30.0])
def test_the_bound_pulls_on_z_no_harder_than_beta_times_the_loss(scale):
    """The critic's scale sets how hard; the shares of weak bounds and absent tasks are 1."""
    params, beta = draw_params(), 1.7
    params["method"][CRITIC]["score"]["kernel"] *= scale
    rngs = {"method": jax.random.key(0), "dropout": jax.random.key(1)}
    limited = losses_of({"beta": beta, "balance": "pull"}, params, rngs)
    free = losses_of({"beta": beta}, params, rngs)
    shares = np.asarray(limited.terms["pull"])
    pulled = shares * beta * np.asarray(free.terms["mi"])
    np.testing.assert_allclose(limited.losses, free.terms["task"] - pulled, rtol=RTOL)
    np.testing.assert_allclose(shares, expected_shares(params), rtol=1e-6)
    assert (shares[3:] == 1).all()
    assert (shares[:3] < 1).any() == (scale > 1)


def expected_shares(params, step=1e-6):
    """Norms by differences of the NumPy losses, along each entry of z."""
    batch, estimate = make_batch(), alignment.Estimate()
    z = representations_of(params, batch)

    def norms(values_of):
        slopes = []
        for place in np.ndindex(z.shape):
            up, down = z.copy(), z.copy()
            up[place] += step
            down[place] -= step
            slopes.append((values_of(up) - values_of(down)) / (2 * step))
        return np.sqrt(np.sum(np.square(slopes), axis=0))

    score = network_score(params)
    of_losses = norms(lambda z: expected_task_losses(params, z, batch))
    of_bounds = norms(lambda z: expected_bounds(score, z, batch, estimate))
    pulls = of_bounds > of_losses
    return np.where(pulls, of_losses / np.where(pulls, of_bounds, 1), 1)


def differentiate(options, params, one_task=False, batch=None):
    model = TOY.model
    method = mtra.make(model, width=WIDTH, **options)
    rngs = {"method": jax.random.key(0), "dropout": jax.random.key(1)}
    program = jax.jit(
        lambda params, batch: TOY.gradient(
            method, params, batch, rngs, one_task=one_task
        )
    )
    return program(params, make_batch() if batch is None else batch)


@jax.jit
def weighted_gradient(params, batch, weights):
    """Returns the gradient of Σ w_t ℓ_Task,t with fixed weights, by autodiff."""

    def weighted(params):
        losses = task_losses.plain(TOY.model)(params, batch, None, None).losses
        return jnp.sum(losses * weights)

    return jax.grad(weighted)(params)


@pytest.mark.parametrize(
    ("options", "logarithm"),
    [({"task_alignment": False}, True), ({"beta": 0.0}, False)],
    ids=["task_alignment", "beta"],
)
def test_without_a_bound_and_a_perturbation_the_losses_are_plain(options, logarithm):
    """The gradient is that of Σ ℓ_Task, or of Σ log ℓ_Task with weights 1/ℓ_Task."""
    params, batch = draw_params(), make_batch()
    if "task_alignment" in options:
        params["method"] = {}
    losses = expected_task_losses(params, representations_of(params, batch), batch)
    weights = np.array([1 / x if logarithm else 1.0 for x in losses[:3]] + [0, 0])
    value = np.log(losses[:3]).sum() if logarithm else losses.sum()
    options = {"self_alignment": False, "logarithm": logarithm, **options}
    result = differentiate(options, params)
    np.testing.assert_allclose(result.losses, losses, rtol=RTOL)
    np.testing.assert_allclose(result.weights, weights, rtol=RTOL)
    np.testing.assert_allclose(result.objective, value, rtol=RTOL)
    assert result.scalars == {}
    assert result.terms.keys() == ({"task", "floored"} if logarithm else {"task", "mi"})
    expected = weighted_gradient({**params, "method": {}}, batch, weights)
    for part in ("encoder", "heads"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14),
            result.grads[part],
            expected[part],
        )
    # The critic has no gradient.
    for leaf in jax.tree.leaves(result.grads["method"]):
        assert not np.any(leaf)


def test_a_loss_below_the_floor_weighs_one_over_floor():
    """β so large that ℓ_TA is negative: the logarithm is continued by its tangent."""
    params = draw_params()
    params["method"]["statistics"]["score"]["kernel"] *= 0.1
    options = {"beta": 100.0, "self_alignment": False, "floor": 0.5}
    result = differentiate(options, params)
    losses = np.asarray(result.losses[:3])
    assert (losses < 0).any()
    assert (losses > 0.5).any()
    floored = np.maximum(losses, 0.5)
    values = np.where(losses < 0.5, np.log(0.5) + losses / 0.5 - 1, np.log(floored))
    np.testing.assert_allclose(result.objective, values.sum(), rtol=RTOL)
    np.testing.assert_allclose(result.weights[:3], 1 / floored, rtol=RTOL)
    assert not np.any(result.weights[3:])
    np.testing.assert_array_equal(result.terms["floored"][:3], losses <= 0.5)
    assert not np.any(result.terms["floored"][3:])


@pytest.mark.slow
@pytest.mark.parametrize("one_task", [True, False])
def test_the_total_of_the_two_passes_is_compared_with_the_floor(one_task):
    params, whole = draw_params(), make_batch()
    batch = whole._replace(where=TASKS == 1) if one_task else whole
    first = differentiate({"epsilon": 0.25}, params, one_task, batch)
    totals = np.asarray(first.losses + first.terms["perturbed"])
    assert not np.any(first.terms["floored"])
    floor = float(totals[1]) * (1 + 1e-6)
    options = {"epsilon": 0.25, "floor": floor}
    result = differentiate(options, params, one_task, batch)
    expected = np.asarray(result.present) & (totals <= floor)
    assert expected[1]
    np.testing.assert_array_equal(result.terms["floored"], expected)
    options["logarithm"] = False
    assert "floored" not in differentiate(options, params, one_task, batch).terms


@pytest.mark.parametrize(("one_task", "logarithm"), [(True, True), (False, False)])
def test_losses_weights_and_terms_of_the_two_passes(one_task, logarithm):
    params, whole = draw_params(), make_batch()
    batch = whole._replace(where=TASKS == 1) if one_task else whole
    options = {"epsilon": 0.25, "logarithm": logarithm}
    result = differentiate(options, params, one_task, batch)
    present = np.array([not one_task, True, not one_task, False, False])
    totals = np.asarray(result.losses + result.terms["perturbed"])
    assert (totals[present] > 0.01).all()
    expected = np.where(present, 1 / np.where(present, totals, 1), 0)
    expected = expected if logarithm else present.astype(float)
    np.testing.assert_allclose(result.weights, expected, rtol=RTOL)
    terms = np.log(totals[present]) if logarithm else totals[present]
    np.testing.assert_allclose(result.objective, terms.sum(), rtol=RTOL)
    for name in ("losses", "weights"):
        assert not np.any(np.asarray(getattr(result, name))[~present])
    own = {"floored"} if logarithm else set()
    assert result.terms.keys() == {"task", "mi", "perturbed", *own}
    for name, values in result.terms.items():
        assert values.shape == (5,), name
        assert not np.any(np.asarray(values)[~present]), name
    # An ascent step: the sum of the losses grows.
    assert result.terms["perturbed"].sum() > result.losses.sum()
    np.testing.assert_allclose(result.scalars["norm/perturbation"], 0.25, rtol=RTOL)
    assert result.scalars["norm/perturbation_gradient"] > 0


def test_only_the_word_embeddings_are_perturbed():
    params = draw_params()
    params["encoder"]["embeddings"]["position_embeddings"] = {"embedding": np.ones(2)}
    mask = gradients.word_embeddings(params)
    assert jax.tree.structure(mask) == jax.tree.structure(params)
    chosen = [path for path, hit in jax.tree.leaves_with_path(mask) if hit]
    assert [
        jax.tree_util.keystr(path, simple=True, separator="/") for path in chosen
    ] == ["encoder/embeddings/word_embeddings/embedding"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (contract.AlignedPasses(5.0), 1e-2)),
        ({"epsilon": 1.0, "floor": 0.1}, (contract.AlignedPasses(1.0), 0.1)),
        (
            {"floor": 0.1, "logarithm": False, "task_alignment": False},
            (contract.AlignedPasses(5.0), None),
        ),
    ],
)
def test_options_reach_the_aligned_gradient(options, expected):
    method = mtra.make(TOY.model, **options)
    assert (method.rule, method.floor) == expected


def test_without_self_alignment_one_pass_suffices():
    method = mtra.make(TOY.model, self_alignment=False)
    assert method.rule.reads is Reads.LOSSES


def test_the_critic_is_added_to_the_model():
    model = TOY.model
    added = jax.eval_shape(mtra.make(model, width=7).init, jax.random.key(0))
    shapes = jax.tree.map(lambda leaf: leaf.shape, added)
    assert shapes == {
        "statistics": {
            "from_z": {"kernel": (HIDDEN, 7), "bias": (7,)},
            "from_y": {"kernel": (NUM_SLOTS, 7)},
            "score": {"kernel": (7, 1)},
        }
    }
    assert mtra.make(model, task_alignment=False).init(jax.random.key(0)) == {}


def test_an_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="epsilom"):
        mtra.make(TOY.model, epsilom=1.0)
