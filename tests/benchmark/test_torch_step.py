"""The training step in PyTorch against ours: same batch, same losses, same step."""

import functools

import jax
import numpy as np
import optax
import pytest
import torch_step
from tiers import NIGHTLY_ONLY

from mtra_jax.data.packed import batches, plans
from mtra_jax.data.tokenizing.tokens import Tokens
from mtra_jax.errors import InputError
from mtra_jax.methods import gradients, mtra, weighted
from mtra_jax.methods.model import Model, Space
from mtra_jax.models import encoder, heads, pretrained
from mtra_jax.train import build, optimiser, step

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

TASKS = ("classes", "values")
SPACE = Space(TASKS, np.array([0, 0, 0, 1, 1]), np.array([True, False]), (9, 9))
OPTIONS = {"beta": 0.7, "epsilon": 0.9, "floor": 1e-2}
RATE, CLIP = 1e-2, 1.0
CASES = [
    pytest.param(
        *(kind, method, task, packed),
        id=f"{kind}-{method}-{name}-{rows}",
        # Each pair of two choices is in every run.
        marks=() if (kind == "bert") ^ (method == "ew") ^ packed else NIGHTLY_ONLY,
    )
    for kind in ("bert", "roberta")
    for method in ("ew", "mtra")
    for task, name in enumerate(TASKS)
    for packed, rows in ((True, "packed"), (False, "padded"))
]


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for busy cores take many times longer than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def encoder_config(kind, dropout=0.0):
    return encoder.EncoderConfig(
        model_type=kind,
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=20,
        type_vocab_size=2 if kind == "bert" else 1,
        pad_token_id=0 if kind == "bert" else 1,
        layer_norm_eps=1e-12 if kind == "bert" else 1e-5,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )


@functools.cache
def ours(kind, method):
    """Our model and method, and parameters large enough that all of them matter."""
    sizes = tuple(zip(TASKS, SPACE.num_outputs.tolist(), strict=True))
    config = encoder_config(kind)
    model = Model(
        encoder.Encoder(config), heads.Heads(sizes), SPACE, config.hidden_size
    )
    made = (
        mtra.make(model, width=8, **OPTIONS) if method == "mtra" else weighted.ew(model)
    )
    rng = np.random.default_rng(1)
    start = pretrained.init_encoder(config, jax.random.key(0))
    params = build.init_params(model, made, start, jax.random.key(1))
    params = {
        part: jax.tree.map(
            lambda x, std=std: np.float32(x + rng.normal(0, std, x.shape)),
            params[part],
        )
        for part, std in (("encoder", 0.25), ("heads", 0.25), ("method", 0.7))
    }
    return model, made, params


def make_batch(task, num_texts=6, batch_size=8):
    """`num_texts` texts of one task, several to a row, and empty places."""
    rng = np.random.default_rng(task)
    lengths = rng.permutation(np.arange(num_texts) + 3)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    # Neither of the padding tokens: RoBERTa in transformers gives it no position.
    ids = rng.integers(2, 40, offsets[-1]).astype(np.int32)
    targets = np.zeros((num_texts, 5), np.float32)
    if task == 0:
        targets[np.arange(num_texts), np.arange(num_texts) % 3] = 1
    else:
        targets[:, 3:] = rng.normal(size=(num_texts, 2))
    tasks = np.full(num_texts, task, np.int32)
    sizes = (num_texts, 0) if task == 0 else (0, num_texts)
    corpus = batches.Corpus(Tokens(ids, offsets), tasks, targets, sizes)
    plan = np.full(batch_size, plans.PADDING)
    plan[np.arange(num_texts) + 1] = rng.permutation(num_texts)
    return batches.Batcher(corpus).pack(plan, rng)


def make_trainer(directory, kind, method, params, dropout=0.0, **options):
    pretrained.save_encoder(directory, encoder_config(kind, dropout), params["encoder"])
    options = {"packed": True, "head_dropout": 0.0, **OPTIONS, **options}
    options = {"clip_norm": CLIP, "use_bfloat16": False, **options}
    return torch_step.TorchTrainer(
        directory,
        params,
        SPACE,
        method=method,
        learning_rate=RATE,
        device="cpu",
        **{"compile_model": False, **options},
    )


def as_ours(trainer, value):
    """The tree of `value(parameter)`, arrays, of all parameters of the trainer."""

    def layer(linear):
        arrays = {"kernel": value(linear.weight).T}
        return arrays if linear.bias is None else {**arrays, "bias": value(linear.bias)}

    names = {name: value(p) for name, p in trainer.encoder.named_parameters()}
    statistics = {name: layer(linear) for name, linear in trainer.statistics.items()}
    return {
        "encoder": pretrained.from_huggingface(names, trainer.config),
        "heads": dict(zip(TASKS, map(layer, trainer.heads), strict=True)),
        "method": {"statistics": statistics} if statistics else {},
    }


def parameters_of(trainer):
    return as_ours(trainer, lambda p: p.detach().numpy().copy())


def gradients_of(trainer):
    """Zeros for parameters without a gradient, as in ours."""

    def gradient(parameter):
        if parameter.grad is None:
            return np.zeros(parameter.shape, np.float32)
        return parameter.grad.numpy()

    return as_ours(trainer, gradient)


@functools.cache
def our_programs(kind, method):
    """Losses, gradient and update in one program: the two tasks share it."""
    _, made, params = ours(kind, method)
    rngs = {"method": jax.random.key(2), "dropout": jax.random.key(3)}
    optimise = optimiser.make(optax.constant_schedule(RATE), TASKS, CLIP)
    update = step.make_update(made, optimise, tasks=TASKS, one_task=True)
    state = step.init_state(made, optimise, params, jax.random.key(0))

    @jax.jit
    def run(params, batch):
        _, measured = step.make_forward(made)(params, batch)
        gradient = gradients.differentiate(
            made, params, batch, rngs, (), tasks=TASKS, one_task=True, axis_name=None
        )
        return measured, gradient, update(state._replace(params=params), batch)

    return run


@functools.cache
def our_step(kind, method, task):
    """Without dropout: losses by name, gradient, its norm, objective, next parameters."""
    params, batch = ours(kind, method)[2], first(make_batch(task))
    arrays = jax.device_get(our_programs(kind, method)(params, batch))
    measured, gradient, (state, metrics) = arrays
    losses = {"aligned": measured["losses"], **gradient.terms, **measured["terms"]}
    losses = {name: values[task] for name, values in losses.items()}
    norm = float(optax.tree.norm(gradient.grads))
    return losses, gradient.grads, norm, metrics["objective"], state.params


def assert_gradients(trainer, expected, norm):
    """Entries to 1e-6 of the whole gradient's norm: sums of float32 in another order."""

    def assert_near(arrays, want):
        np.testing.assert_allclose(arrays, want, rtol=1e-6, atol=1e-6 * norm)

    jax.tree.map(assert_near, gradients_of(trainer), expected)


def first(batch):
    return jax.tree.map(lambda x: x[0], batch)


@pytest.mark.parametrize(("kind", "method", "task", "packed"), CASES)
def test_losses_equal_ours(kind, method, task, packed, tmp_path):
    params = ours(kind, method)[2]
    expected = dict(our_step(kind, method, task)[0])

    trainer = make_trainer(tmp_path, kind, method, params, packed=packed)
    arrays = trainer.losses(trainer.place(make_batch(task)))

    # No total is at the floor; PyTorch's step takes plain logarithms.
    assert not np.any(expected.pop("floored", False))
    assert arrays.keys() == expected.keys()
    for name, value in expected.items():
        # The bound is a difference of scores near 1.
        atol = 1e-6 if name == "mi" else 0
        np.testing.assert_allclose(
            arrays[name], value, rtol=1e-5, atol=atol, err_msg=name
        )
    jax.tree.map(np.testing.assert_array_equal, parameters_of(trainer), params)


@pytest.mark.parametrize(("kind", "method", "task", "packed"), CASES)
def test_step_equals_ours(kind, method, task, packed, tmp_path):
    """Gradients to float32's rounding, parameters where that decides nothing.

    The clipped gradients have norm 1, and entries good to about 1e-7. Adamax's first step
    is `RATE` · g/(|g| + 1e-8): where |g| is above 1e-5, that error moves it by less
    than 1e-7; where g is only rounding (biases of the keys), it may have any size to
    `RATE`.
    """
    params = ours(kind, method)[2]
    _, gradient, norm, objective, after = our_step(kind, method, task)
    clipped = jax.tree.map(lambda g: g * min(1, CLIP / norm), gradient)

    trainer = make_trainer(tmp_path, kind, method, params, packed=packed)
    arrays = trainer.step(trainer.place(make_batch(task)))

    np.testing.assert_allclose(arrays, objective, rtol=1e-5)
    assert_gradients(trainer, clipped, norm=1)
    sizes = np.concatenate([np.abs(g).ravel() for g in jax.tree.leaves(clipped)])
    assert np.sum(sizes > 1e-5) > 0.9 * np.sum(sizes > 0)

    def assert_near(arrays, want, start, g):
        is_certain = np.abs(g) > 1e-5
        np.testing.assert_allclose(arrays[is_certain], want[is_certain], atol=1e-6)
        assert np.all(np.abs(arrays - start) <= RATE + 1e-6)

    arrays = parameters_of(trainer)
    jax.tree.map(assert_near, arrays, after, params, clipped)
    absent = TASKS[1 - task]
    jax.tree.map(
        np.testing.assert_array_equal, arrays["heads"][absent], params["heads"][absent]
    )


@pytest.mark.parametrize("method", ["ew", "mtra"])
def test_gradients_have_their_weight(method, tmp_path):
    """The limit of clipping is so high that it does not hide a factor."""
    params = ours("bert", method)[2]
    _, gradient, norm, *_ = our_step("bert", method, 1)
    trainer = make_trainer(tmp_path, "bert", method, params, clip_norm=1e9)
    trainer.step(trainer.place(make_batch(1)))
    assert_gradients(trainer, gradient, norm)


def test_gradients_below_the_floor_have_the_weight_of_the_tangent(tmp_path):
    params = ours("bert", "mtra")[2]
    losses, gradient, norm, *_ = our_step("bert", "mtra", 1)
    total, floor = losses["aligned"] + losses["perturbed"], 1e3
    trainer = make_trainer(tmp_path, "bert", "mtra", params, clip_norm=1e9, floor=floor)
    objective = trainer.step(trainer.place(make_batch(1)))
    expected = np.log(floor) + (total - floor) / floor
    np.testing.assert_allclose(objective, expected, rtol=1e-6)
    scale = total / floor
    scaled = jax.tree.map(lambda g: g * scale, gradient)
    assert_gradients(trainer, scaled, norm * scale)


def test_the_head_of_an_absent_task_does_not_change(tmp_path):
    _, _, params = ours("bert", "mtra")
    trainer = make_trainer(tmp_path, "bert", "mtra", params)
    trainer.step(trainer.place(make_batch(0)))
    before = parameters_of(trainer)
    trainer.step(trainer.place(make_batch(1)))
    after = parameters_of(trainer)
    jax.tree.map(
        np.testing.assert_array_equal,
        before["heads"]["classes"],
        after["heads"]["classes"],
    )
    moved = before["heads"]["values"]["kernel"] != after["heads"]["values"]["kernel"]
    assert np.any(moved)


@pytest.mark.parametrize(
    "rates", [{"dropout": 0.5}, {"head_dropout": 0.5}], ids=["encoder", "heads"]
)
def test_dropout_is_on_in_steps_only(rates, tmp_path):
    _, _, params = ours("bert", "ew")
    trainer = make_trainer(tmp_path, "bert", "ew", params, **rates)
    batch = trainer.place(make_batch(0))
    before = trainer.losses(batch)["aligned"]
    # Some masks hardly change the loss.
    torch.manual_seed(0)
    assert trainer.losses(batch)["aligned"] == before
    assert abs(trainer.step(batch) - before / len(TASKS)) > 1e-3


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_bfloat16_is_near(packed, tmp_path):
    """Two layers of rounding to 8 bits; the losses themselves are in float32."""
    _, _, params = ours("bert", "ew")
    batch = make_batch(0)
    exact = make_trainer(tmp_path, "bert", "ew", params, packed=packed)
    rounded = make_trainer(
        tmp_path, "bert", "ew", params, packed=packed, use_bfloat16=True
    )
    want, arrays = (t.losses(t.place(batch))["task"] for t in (exact, rounded))
    assert arrays != want
    np.testing.assert_allclose(arrays, want, rtol=0.05)
    assert np.isfinite(rounded.step(rounded.place(batch)))


def test_texts_of_one_length_need_no_mask(tmp_path):
    _, made, params = ours("roberta", "ew")
    batch = make_batch(0, num_texts=1)
    trainer = make_trainer(tmp_path, "roberta", "ew", params, packed=False)
    placed = trainer.place(batch)
    assert placed.attention is None
    _, measured = step.make_forward(made)(params, first(batch))
    arrays = trainer.losses(placed)["task"]
    np.testing.assert_allclose(arrays, measured["losses"][0], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b._replace(where=np.zeros_like(b.where)), r"one task; found \[\]"),
        (
            lambda b: b._replace(tasks=np.arange(b.tasks.size)[None, None] % 2),
            r"one task; found \[0, 1\]",
        ),
        (
            lambda b: b._replace(tokens=np.concatenate([b.tokens, b.tokens])),
            r"found \(2, 1, 1\)",
        ),
    ],
    ids=["empty", "several tasks", "several devices"],
)
def test_batches_that_do_not_fit_are_refused(change, message, tmp_path):
    _, _, params = ours("bert", "ew")
    trainer = make_trainer(tmp_path, "bert", "ew", params)
    with pytest.raises(ValueError, match=message):
        trainer.place(change(make_batch(0)))


def test_unknown_method_is_refused(tmp_path):
    _, _, params = ours("bert", "ew")
    with pytest.raises(InputError, match="did you mean mtra"):
        make_trainer(tmp_path, "bert", "mtr", params)


def test_a_missing_compiler_is_reported_in_one_line(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("no C++ compiler\nset CXX")

    monkeypatch.setattr(torch, "compile", fail)
    _, _, params = ours("bert", "ew")
    with pytest.raises(InputError, match="RuntimeError: no C\\+\\+ compiler set CXX"):
        make_trainer(tmp_path, "bert", "ew", params, compile_model=True)


def test_missing_pytorch_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_step, "torch", None)
    _, _, params = ours("bert", "ew")
    with pytest.raises(InputError, match="PyTorch is not installed"):
        make_trainer(tmp_path, "bert", "ew", params)
