"""A step on micro-batches against a step on the whole batch, in float64."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiers import NIGHTLY_ONLY, nightly_only, rest_nightly

from mtra_jax import config as configs
from mtra_jax.data.packed import batches
from mtra_jax.data.tokenizing.tokens import Tokens
from mtra_jax.errors import InputError
from mtra_jax.methods import registry
from mtra_jax.methods.model import Model, Space
from mtra_jax.models import encoder, heads, pretrained
from mtra_jax.runs.training import preparation
from mtra_jax.train import build, optimiser, step
from mtra_jax.train.devices import AXIS, Program, to_host

TASKS = ("stance", "mood", "irony")
WIDTHS = (3, 2, 2)
TEXTS = 12  # of each task
NUM_EXAMPLES = TEXTS * len(TASKS)
SPACE = Space(
    TASKS,
    np.repeat(np.arange(3, dtype=np.int32), WIDTHS),
    np.array([True, False, True]),
    (TEXTS,) * 3,
)
# All tasks with an empty place; two tasks; fewer texts than there are parts.
JOINT = np.array(
    [
        [0, 12, 24, 1, 13, -1, 25, 2],
        [14, 15, 26, -1, 16, 27, -1, 17],
        [28, 3, 4, -1, -1, -1, -1, -1],
    ]
)
# One task in each: a full batch, one with empty places, one of three texts.
PER_TASK = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [12, 13, 14, -1, 15, 16, -1, 17],
        [30, 26, 28, -1, -1, -1, -1, -1],
    ]
)
ROWS = ("tokens", "segments", "positions", "types", "first_tokens")
OPTIONS = {"mtra": {"epsilon": 0.5, "width": 6}, "stl_cnn": {"num_filters": 3}}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def make_corpus(lengths, vocab_size=30):
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(1, vocab_size, size=offsets[-1]).astype(np.int32)
    tasks = np.repeat(np.arange(3, dtype=np.int32), len(lengths) // 3)
    targets = np.zeros((len(tasks), sum(WIDTHS)), np.float32)
    for row, task in enumerate(tasks):
        if task == 1:
            targets[row, 3:5] = rng.normal(size=2)
        else:
            width, start = (3, 0) if task == 0 else (2, 5)
            targets[row, start + row % width] = 1
    sizes = (len(lengths) // 3,) * 3
    types = rng.integers(0, 2, size=len(ids)).astype(np.int32)
    return batches.Corpus(Tokens(ids, offsets, types), tasks, targets, sizes)


def make_batches(plan, micro_batches=1, num_devices=1, corpus=None, part_size=None):
    if corpus is None:
        lengths = np.random.default_rng(1).integers(3, 9, size=NUM_EXAMPLES)
        corpus = make_corpus(lengths)
    batcher = batches.Batcher(
        corpus,
        num_devices=num_devices,
        local_devices=range(num_devices),
        micro_batches=micro_batches,
        part_size=part_size,
    )
    return list(batcher.batches(plan))


def make_model(dropout=0.0, dtype=np.float64, **sizes):
    fields = {
        "vocab_size": 30,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 20,
        "max_position_embeddings": 16,
    }
    config = encoder.EncoderConfig(
        **{**fields, **sizes},
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    outputs = tuple(zip(TASKS, WIDTHS, strict=True))
    return Model(
        encoder.Encoder(config, dtype=dtype),
        heads.Heads(outputs, dropout),
        SPACE,
        config.hidden_size,
        reads_types=True,
    )


@functools.cache
def random_encoder():
    """Weights large enough that the tokens and the attention matter."""
    params = pretrained.init_encoder(make_model().encoder.config, jax.random.key(0))

    def enlarge(path, leaf):
        is_matrix = path[-1].key in ("kernel", "embedding")
        return np.float64(leaf) * (10 if is_matrix else 1)

    return jax.tree.map_with_path(enlarge, params)


def init_params(model, method):
    rng = jax.random.key(1)
    params = build.init_params(model, method, random_encoder(), rng)
    return jax.tree.map(np.float64, params)


def make_update(name, plan):
    """The update, for devices, and the state before the first step."""
    model = make_model()
    method = registry.make(name, model, **OPTIONS.get(name, {}))
    params = init_params(model, method)
    optimise = optimiser.make(optax.constant_schedule(1e-2), TASKS)
    update = step.make_update(
        method,
        optimise,
        tasks=TASKS,
        one_task=plan is PER_TASK,
        axis_name=AXIS,
    )
    state = step.init_state(method, optimise, params, jax.random.key(2))
    return update, to_host(state)


def run(name, plan, micro_batches=1, num_devices=1, part_size=None):
    """Parameters and metrics after a step on each batch of `plan`."""
    update, state = make_update(name, plan)
    devices = jax.devices()[:num_devices]
    program = Program(update, devices, donate_first=True)
    packed = make_batches(plan, micro_batches, num_devices, part_size=part_size)
    result = []
    for batch in packed:
        state, metrics = program(state, batch)
        result.append(to_host((state.params, metrics)))
    return result


@functools.cache
def run_whole(name, sampling):
    return run(name, PLANS[sampling])


PLANS = {"per_task": PER_TASK, "joint": JOINT}
SPLITS = [
    pytest.param(
        *(name, sampling, micro_batches, num_devices),
        marks=() if name in ("ew", "pcgrad") or num_devices == 2 else NIGHTLY_ONLY,
    )
    for name, sampling in (
        ("ew", "joint"),
        ("mtra", "per_task"),
        ("mtra", "joint"),
        ("infomtl", "joint"),
        ("pcgrad", "joint"),
    )
    for micro_batches, num_devices in ((4, 1), (2, 2))
    if (num_devices == 2) == ((name, sampling) == ("mtra", "joint"))
]
# A noise for each text, all tokens of a text; the other methods take z as these do.
SPLITS += [
    pytest.param(name, "joint", 2, 1, marks=NIGHTLY_ONLY)
    for name in ("mtra", "vmtl", "stl_cnn")
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sampling", "micro_batches", "num_devices"),
    SPLITS,
    ids=lambda value: str(value),
)
def test_micro_batches_give_the_same_step_as_the_whole_batch(
    name, sampling, micro_batches, num_devices
):
    """Losses, bound, all norms, weights and parameters: after each of three steps."""
    actual = run(name, PLANS[sampling], micro_batches, num_devices)
    for got, expected in zip(actual, run_whole(name, sampling), strict=True):
        for (path, want), leaf in zip(
            jax.tree.leaves_with_path(expected), jax.tree.leaves(got), strict=True
        ):
            np.testing.assert_allclose(
                leaf, want, rtol=1e-10, atol=1e-10, err_msg=jax.tree_util.keystr(path)
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampling", "micro_batches", "num_devices"),
    rest_nightly(
        [(plan, *case) for plan in PLANS for case in ((1, 1), (1, 2), (2, 1))],
        [("joint", 1, 1), ("per_task", 1, 2), ("joint", 2, 1)],
    ),
    ids=str,
)
def test_rows_of_one_task_each_give_the_same_step_as_mixed_rows(
    sampling, micro_batches, num_devices
):
    """PCGrad in one pass over rows of one task each equals PCGrad in a pass per task."""
    actual = run("pcgrad", PLANS[sampling], micro_batches, num_devices, part_size=8)
    for got, expected in zip(actual, run_whole("pcgrad", sampling), strict=True):
        for (path, want), leaf in zip(
            jax.tree.leaves_with_path(expected), jax.tree.leaves(got), strict=True
        ):
            np.testing.assert_allclose(
                leaf, want, rtol=1e-10, atol=1e-10, err_msg=jax.tree_util.keystr(path)
            )


@pytest.mark.slow
def test_tasks_apart_take_the_operations_of_one_pass():
    """Per token of the rows they equal those of EW's step, not T times as many."""

    def operations(name, part_size=None):
        update, state = make_update(name, JOINT)
        (batch,) = make_batches(np.arange(NUM_EXAMPLES)[None], part_size=part_size)
        program = Program(update, jax.devices()[:1], donate_first=False)
        result = program.compiled(state, batch).cost_analysis()
        return result["flops"] / batch.tokens.size

    one_pass = operations("ew")
    assert operations("pcgrad", part_size=12) == pytest.approx(one_pass, rel=0.15)
    assert operations("pcgrad") > 2 * one_pass


@pytest.mark.slow
def test_the_compared_steps_use_bound_perturbation_and_contrast():
    """Each step changes the parameters, and has a bound, a perturbation or InfoNCE."""
    for name in ("mtra", "infomtl"):
        before = None
        for params, metrics in run_whole(name, "joint"):
            assert metrics["scalars"]["norm/updates"] > 1e-3
            assert metrics["scalars"]["norm/grads"] > 1e-2
            assert metrics["scalars"]["bad_steps"] == 0
            if name == "mtra":
                present = metrics["present"]
                # The bound of a single text is 0.
                assert np.any(np.abs(metrics["terms"]["mi"][present]) > 1e-5)
                assert metrics["scalars"]["norm/perturbation_gradient"] > 1e-2
            else:
                assert metrics["scalars"]["batch_loss"] > 1e-2
            kernel = params["encoder"]["layers"]["attention"]["query"]["kernel"]
            assert before is None or np.abs(kernel - before).max() > 1e-4
            before = kernel


# ---- dropout


def represent(model, batch, rng):
    params = {"encoder": random_encoder()}
    shard = jax.tree.map(lambda x: x[0, 0], batch)
    return np.asarray(jax.jit(model.represent)(params, shard, rng))


def test_dropout_differs_between_micro_batches():
    """The same text four times, twice in each part and at the same places there."""
    model = make_model(dropout=0.4)
    plan = np.array([[7, 7, 7, 7]])
    (batch,) = make_batches(plan, micro_batches=2)
    np.testing.assert_array_equal(batch.tokens[0, 0, 0], batch.tokens[0, 0, 1])
    alike = represent(model, batch, None)
    np.testing.assert_allclose(alike, np.tile(alike[:1], (4, 1)), rtol=1e-12)
    z = represent(model, batch, jax.random.key(3))
    for one in range(4):
        for other in range(one):
            assert np.abs(z[one] - z[other]).max() > 1e-2
    np.testing.assert_array_equal(z, represent(model, batch, jax.random.key(3)))
    assert np.all(z != represent(model, batch, jax.random.key(4)))


@pytest.mark.slow
def test_dropout_differs_between_the_two_passes():
    """Without perturbation, only dropout differs."""
    model = make_model(dropout=0.4)
    method = registry.make("mtra", model, epsilon=0.0, width=6)
    params = init_params(model, method)
    optimise = optimiser.make(optax.constant_schedule(1e-2), TASKS)
    update = step.make_update(method, optimise, tasks=TASKS, one_task=False)
    (batch,) = make_batches(JOINT[:1], micro_batches=2)
    state = step.init_state(method, optimise, params, jax.random.key(2))
    shard = jax.tree.map(lambda x: x[0], batch)
    # The losses alone, which spares the compilation of the backward passes.
    metrics = jax.jit(lambda *args: update(*args)[1])(state, shard)
    assert np.all(np.abs(metrics["losses"] - metrics["terms"]["perturbed"]) > 1e-3)


@pytest.mark.slow
def test_the_backward_pass_has_the_masks_of_the_forward_pass():
    """It recomputes them. Compared with a plain loop that stores all activations."""
    model = make_model(dropout=0.4)
    params = {"encoder": random_encoder()}
    (batch,) = make_batches(JOINT[:1], micro_batches=2)
    batch = jax.tree.map(lambda x: x[0, 0], batch)
    rng = jax.random.key(5)
    mix = np.random.default_rng(2).normal(size=(8, 8))

    def value(params):
        return jnp.sum(mix * model.represent(params, batch, rng) ** 2)

    def value_of_loop(params):
        total = 0.0
        for part in range(2):
            one = batch._replace(
                **{name: getattr(batch, name)[part : part + 1] for name in ROWS}
            )
            z = model.represent(params, one, jax.random.fold_in(rng, part))
            total += jnp.sum(mix[part::2] * z**2)
        return total

    actual, expected = (
        jax.jit(jax.value_and_grad(function))(params)
        for function in (value, value_of_loop)
    )
    jax.tree.map(
        lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9),
        actual,
        expected,
    )


# ---- memory


def temporary_bytes(name, micro_batches):
    """Memory of a step on 32 texts of 60 tokens, without parameters and batch."""
    model = make_model(
        dropout=0.1,
        dtype=np.float32,
        hidden_size=64,
        intermediate_size=256,
        max_position_embeddings=64,
    )
    corpus = make_corpus(np.full(96, 60))
    (batch,) = make_batches(np.arange(32)[None], micro_batches, corpus=corpus)
    method = registry.make(name, model)
    params = pretrained.init_encoder(model.encoder.config, jax.random.key(0))
    params = build.init_params(model, method, params, jax.random.key(1))
    optimise = optimiser.make(optax.constant_schedule(1e-2), TASKS)
    update = step.make_update(method, optimise, tasks=TASKS, one_task=True)
    state = step.init_state(method, optimise, params, jax.random.key(2))
    batch = jax.tree.map(lambda x: x[0], batch)
    compiled = jax.jit(update).lower(state, batch).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@nightly_only
@pytest.mark.slow
def test_four_micro_batches_take_less_memory():
    with jax.enable_x64(False):
        whole, split = (temporary_bytes("mtra", count) for count in (1, 4))
    assert split < 0.6 * whole


# ---- configuration


def test_a_batch_that_cannot_be_split_is_refused():
    def message(**values):
        config = configs.preset("new_synthetic", "ew")
        config.update(values)
        with pytest.raises(InputError) as error:
            preparation.prepare(config)
        return str(error.value)

    assert message(batch_size=32, micro_batches=5, devices=1) == (
        "batch_size is 32; expected a multiple of 5, devices times micro_batches"
    )
    assert message(batch_size=36, micro_batches=4, devices=2) == (
        "batch_size is 36; expected a multiple of 8, devices times micro_batches"
    )
    assert message(batch_size=36, micro_batches=1, devices=8) == (
        "batch_size is 36; expected a multiple of the 8 devices"
    )


def test_only_training_is_in_micro_batches():
    """Evaluation needs little memory, and works on whole batches."""
    config = configs.preset("new_synthetic", "ew")
    config.update(tasks=("irony",), micro_batches=4, devices=2)
    config.data.update(fraction=0.1, cache_dir="")
    with jax.enable_x64(False):
        run = preparation.prepare(config).run
    batch = next(run.train.batches(run.schedule.plan(0)))
    assert batch.tokens.shape[:3] == (2, 1, 4)
    assert batch.first_tokens.shape == (2, 1, 4, config.batch_size // 8)
    assert batch.targets.shape[:3] == (2, 1, config.batch_size // 2)
    held_out = next(run.validation.batcher.batches(run.validation.plan))
    assert held_out.first_tokens.shape == (2, 1, 1, config.batch_size // 2)


@nightly_only
@pytest.mark.processes
def test_a_run_in_micro_batches_has_the_objectives_of_whole_batches(
    script, undisturbed, tmp_path
):
    """Without dropout, as the preset is: the same figures, up to the roundings of float32."""
    script.train(tmp_path, "--config.micro_batches=2")
    split, whole = objectives_of(tmp_path), objectives_of(undisturbed)
    assert len(whole) == 12
    np.testing.assert_allclose(split, whole, rtol=1e-3)


def objectives_of(workdir):
    text = (workdir / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    return [line["objective"] for line in lines if "objective" in line]
