"""Balancers as methods: against the balancer on gradients in NumPy, and whole steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import NIGHTLY_ONLY, rest_nightly
from toys import first_memory, objective_of

from mtra_jax import balancing
from mtra_jax.balancing import Inputs, Reads
from mtra_jax.data import benchmarks
from mtra_jax.methods import balanced, registry
from mtra_jax.runs.directory import checkpoints
from mtra_jax.tasks import BENCHMARKS
from mtra_jax.train import backbone, batching, build
from mtra_jax.train.devices import choose_devices, to_host
from mtra_jax.train.step import TrainState

# The function of `balancing` behind each row.
BALANCERS = {
    name: entry.make.__wrapped__
    for name, entry in registry.METHODS.items()
    if hasattr(entry.make, "__wrapped__") and not entry.in_papers
}
LEARNING = {"famo", "gradnorm"}
FAST = {"famo", "excess_mtl"}
# The balancers of the papers' rows.
OF_PAPERS = {"dwa", "ew", "gls", "imtl_l", "pcgrad", "rlw", "si", "tw", "uw"}


def fast(names):
    """`names` or parameters, with all names but a few marked as slow."""
    return [
        name
        if not isinstance(name, str) or name in FAST
        else pytest.param(name, marks=pytest.mark.slow)
        for name in names
    ]


# One for each kind of state and of what is read; the others have the same steps.
KINDS = {"cagrad", "excess_mtl", "famo", "graddrop", "gradnorm"}


def of_each_kind(names, kinds=frozenset(KINDS)):
    """`names`, with all but `kinds` left to the nightly runs."""
    return [
        name if name in kinds else pytest.param(name, marks=NIGHTLY_ONLY)
        for name in names
    ]


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def test_every_balancer_is_a_method():
    steps = {"value_and_grad", "samo_value_and_grad", "combine_gradients"}
    functions = {name for name in balancing.__all__ if name.islower()} - steps
    rows = {make.__name__ for make in BALANCERS.values()}
    assert functions == rows | OF_PAPERS
    assert registry.METHODS.keys() >= OF_PAPERS


def test_options_are_the_numbers_and_texts_of_the_balancer():
    assert registry.options("cagrad") == {"c": 0.5}
    assert registry.options("stch") == {"mu": 1.0, "reference": 0.0}
    assert registry.options("mgda") == {"solver": "exact"}
    assert registry.options("famo") == {"minimum": 0.0, "rate": 0.025, "decay": 1e-3}


# ---- one step on gradients that NumPy computes


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("mixture", rest_nightly(["all", "two_absent"], ["two_absent"]))
@pytest.mark.parametrize("name", fast(BALANCERS))
def test_a_step_is_that_of_the_balancer_on_numpy_gradients(toy, name, mixture):
    tasks = toy.mixtures[mixture]
    actual = toy.differentiate(name, tasks)
    losses, grads = toy.losses_and_gradients(toy.params(name), toy.batch(tasks))
    present = np.isin(np.arange(5), tasks)
    rows = np.stack([jax.tree.leaves(own["encoder"])[0] for own in grads])
    flat, balancer = rows.reshape(5, -1), BALANCERS[name]()
    inputs = Inputs(
        jnp.asarray(losses),
        jnp.asarray(present),
        toy.rngs(0)["method"],
        jnp.asarray(flat @ flat.T),
        [jnp.asarray(rows)],
    )
    like = ([rows[0]],) if balancer.reads is Reads.GRADIENTS else ()
    state = balancer.init(5, *like)
    heads, combine = np.ones(5), jax.jit(balancer.combine)
    if balancer.reads is Reads.LOSSES:
        weights = jax.grad(lambda x: combine(inputs._replace(losses=x), state).value)(
            inputs.losses
        )
        heads, encoder = weights, np.tensordot(weights, rows, 1)
    else:
        combined = combine(inputs, state)
        (encoder,) = jax.tree.leaves(combined.value)
        if balancer.reads is Reads.GRAMIAN:
            encoder = np.tensordot(encoder, rows, 1)
        if combined.own_weights is not None:
            heads = combined.own_weights
    (own,) = jax.tree.leaves(actual.grads["encoder"])
    scale = np.abs(own).max()
    np.testing.assert_allclose(own, encoder, rtol=1e-6, atol=1e-9 * scale)
    expected = jax.tree.map(
        lambda *leaves: sum(w * x for w, x in zip(heads, leaves, strict=True)),
        *[own["heads"] for own in grads],
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-12),
        actual.grads["heads"],
        expected,
    )


@pytest.mark.usefixtures("float64")
def test_adam_moves_the_learned_numbers_of_the_state(toy):
    """FAMO's logits after three steps, against Adam by hand.

    The first one has no change yet, and counts in none of Adam's means.
    """
    method = registry.make("famo", toy.model, rate=0.1, decay=0.5)
    first, second = np.array([1.0, 2, 3, 4, 5]), np.array([0.5, 2, 1, 4, 6])
    third = np.array([0.4, 1, 2, 5, 6])
    present, state = np.full(5, True), first_memory(method)
    start = np.linspace(-1, 1, 5)
    state = state._replace(learned=jnp.asarray(start))
    learned, m, v = start, 0, 0
    for at, (losses, before) in enumerate(
        [(first, None), (second, first), (third, second)]
    ):
        _, state = objective_of(method, toy.names)(
            {}, jnp.asarray(losses), present, state, jax.random.key(0)
        )
        if before is None:
            np.testing.assert_array_equal(state.learned, start)
            continue
        change = np.log(before) - np.log(losses)
        z = np.exp(learned) / np.exp(learned).sum()
        gradient = z * (change - z @ change) + 0.5 * learned
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        learned = learned - 0.1 * (m / (1 - 0.9**at)) / (
            np.sqrt(v / (1 - 0.999**at)) + 1e-8
        )
        np.testing.assert_allclose(state.learned, learned, rtol=1e-6)
    np.testing.assert_allclose(state.memory.losses, third, rtol=1e-6)


def test_without_rates_the_learned_numbers_are_parameters(toy):
    method = balanced.make(toy.model, balancing.uw(), learned="s")
    params = method.init(jax.random.key(0))
    assert params["tasks"].keys() == set(toy.names)


def test_learned_parameters_are_for_balancers_of_losses(toy):
    """The others have no derivative by them in a step of the trainer."""
    with pytest.raises(ValueError, match=r"`learned` must be empty .* found 'logit'"):
        balanced.make(toy.model, balancing.gradnorm(), learned="logit")
    with pytest.raises(ValueError, match=r"`learned` must name .* found ''"):
        balanced.make(toy.model, balancing.uw())
    with pytest.raises(ValueError, match=r"`learned` must be empty .* found 's'"):
        balanced.make(toy.model, balancing.ew(), learned="s")
    with pytest.raises(TypeError, match="must be a Balancer"):
        balanced.make(toy.model, balancing.cagrad)


# ---- two steps of a small encoder on the data of the synthetic benchmark

TASKS = ("irony", "intensity")
SIZES = backbone.Sizes(
    vocab_size=200,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    dropout=0.0,
)


@functools.cache
def corpora():
    benchmark = BENCHMARKS["synthetic"].select(TASKS)
    examples = benchmarks.read_examples(benchmark, "")
    examples = benchmarks.thin(benchmark, examples, fraction=0.05)
    texts = benchmarks.train_texts(benchmark, examples)
    made = backbone.load("", SIZES, texts, max_length=16, seed=0)
    return (
        benchmark,
        made,
        benchmarks.build_corpora(
            benchmark, examples, made.tokenizer, max_length=16, cache_dir=None
        ),
    )


@functools.cache
def run(name, num_devices, sampling="joint"):
    """The program, the batches of two steps, and the states before and after them."""
    benchmark, made, examples = corpora()
    devices = choose_devices(num_devices)
    chosen = batching.Sampling(sampling, batch_size=16, micro_batches=1, seed=0)
    choice = build.MethodChoice(name, registry.options(name))
    settings = build.Settings(
        np.float32(1e-2), np.int32(1), np.float32(1.0), choice.numbers()
    )
    model = build.make_model(benchmark, made.config, dtype=np.float32, head_dropout=0.0)
    train, _ = batching.make_batchers(
        chosen,
        examples,
        devices,
        program_cost=1e6,
        max_shapes=1,
        is_apart=build.packs_tasks_apart(model, choice),
    )
    plan = chosen.plan(examples["train"].sizes, epoch=0)
    batches = [*train.batches(plan[:2])]
    # Plain steps: Adamax would divide rounding errors by themselves.
    update = build.make_update(
        model,
        choice,
        settings,
        devices,
        one_task=sampling == "per_task",
        chosen=build.OptimiserChoice("sgd"),
    )
    first = build.init_state(
        model,
        choice,
        settings,
        made.params,
        seed=0,
        chosen=build.OptimiserChoice("sgd"),
    )
    states = [to_host(first)]
    for batch in batches:
        state, _ = update(states[-1], batch)
        states.append(to_host(state))
    return update, batches, states


def assert_close(actual, expected):
    flat, _ = jax.tree_util.tree_flatten_with_path(expected)
    for (path, want), got in zip(flat, jax.tree.leaves(actual), strict=True):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(got, want, 1e-3, 1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", of_each_kind(BALANCERS, {"famo", "graddrop"}))
def test_two_steps_on_two_devices_equal_those_on_one(name):
    for actual, expected in zip(run(name, 2)[2], run(name, 1)[2], strict=True):
        assert_close(actual.params, expected.params)
        assert_close(actual.method, expected.method)
    before, _, after = run(name, 1)[2]
    assert after.bad_steps == 0
    moved = jax.tree.map(np.array_equal, before.params, after.params)
    assert not all(jax.tree.leaves(moved["heads"]))
    assert not all(jax.tree.leaves(moved["encoder"]["layers"]))


@pytest.mark.parametrize("name", fast(of_each_kind(BALANCERS)))
def test_a_state_continues_from_a_checkpoint_to_the_bit(tmp_path, name):
    pytest.importorskip("orbax.checkpoint")
    update, batches, (first, second, last) = run(name, 1)
    store = checkpoints.Checkpoints(tmp_path)
    store.save(1, second._asdict(), {}, 1.0)
    store.close()
    store = checkpoints.Checkpoints(tmp_path)
    target = jax.tree.map(np.zeros_like, first._asdict())
    arrays, _ = store.restore(1, target)
    store.close()
    again, _ = update(TrainState(**arrays), batches[1])
    jax.tree.map(np.testing.assert_array_equal, to_host(again), last)
    if name in LEARNING:
        assert np.any(last.method.learned != first.method.learned)


@pytest.mark.slow
@pytest.mark.parametrize("name", of_each_kind(BALANCERS, {"cagrad", "famo"}))
def test_batches_of_one_task_train_too(name):
    _, _, (before, _, after) = run(name, 1, "per_task")
    assert after.bad_steps == 0
    assert not np.array_equal(
        *(jax.tree.leaves(state.params["encoder"])[0] for state in (before, after))
    )


def test_the_state_of_a_balancer_with_shapes_of_parameters_is_theirs():
    _, _, (first, *_) = run("excess_mtl", 1)
    squares, logits, risks, *_ = first.method
    shared = [
        leaf.shape for leaf in jax.tree.leaves({"encoder": first.params["encoder"]})
    ]
    assert [leaf.shape for leaf in squares] == [
        (len(TASKS), *shape) for shape in shared
    ]
    assert logits.shape == risks.shape == (len(TASKS),)
