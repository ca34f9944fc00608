"""scripts/examples: MTRA's loop against the trainer's step; models of several libraries."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtra_jax import config_files
from mtra_jax.methods import gradients, mtra
from mtra_jax.methods.model import Model, Space
from mtra_jax.models import heads
from mtra_jax.types import Batch

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "scripts" / "examples"


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def own_loop():
    return config_files.execute(str(EXAMPLES / "mtra_own_loop.py"))


class Encoder:
    """The example's encoder with the interface of the trainer's: a text in each row."""

    def __init__(self, encode):
        self.encode = encode

    def apply(
        self, variables, tokens, segments, positions, wanted, *, deterministic, rngs
    ):
        params = variables["params"]
        words = params["embeddings"]["word_embeddings"]["embedding"]
        return self.encode({"words": words, "layer": params["layer"]}, tokens)


def trainers_params(params):
    names = [f"task{task}" for task in range(len(params["heads"]))]
    return {
        "encoder": {
            "embeddings": {
                "word_embeddings": {"embedding": params["encoder"]["words"]}
            },
            "layer": params["encoder"]["layer"],
        },
        "heads": dict(zip(names, params["heads"], strict=True)),
        "method": {"statistics": params["critic"]},
    }


def trainers_batch(batch, classes):
    """All tasks' texts in one batch; partners are positions in it."""
    sizes = [len(labels) for _, labels, _ in batch]
    first = np.cumsum([0, *sizes])
    offsets = np.cumsum([0, *classes])
    tokens = np.concatenate([part[0] for part in batch]).astype(np.int32)
    slots = np.concatenate([offsets[t] + part[1] for t, part in enumerate(batch)])
    partners = np.concatenate([first[t] + part[2] for t, part in enumerate(batch)])
    return Batch(
        tokens=tokens[None, None],
        segments=np.ones((1, 1, *tokens.shape), np.int32),
        positions=np.zeros((1, 1, *tokens.shape), np.int32),
        types=np.zeros((1, 1, *tokens.shape), np.int32),
        first_tokens=np.arange(first[-1], dtype=np.int32)[None, None],
        where=np.ones((1, first[-1]), bool),
        tasks=np.repeat(np.arange(len(classes), dtype=np.int32), sizes)[None],
        targets=np.eye(offsets[-1])[slots][None],
        partners=partners.astype(np.int32)[None],
    )


def test_the_step_of_ones_own_loop_is_the_trainers(own_loop, float64):
    classes = own_loop.CLASSES
    params = jax.tree.map(jnp.float64, own_loop.init_params(jax.random.key(3)))
    batch = own_loop.draw_batch(np.random.default_rng(4))
    present = jnp.ones(len(classes), bool)
    (value, aligned), gradient = jax.jit(own_loop.grad_fn)(params, present, batch)

    names = tuple(f"task{task}" for task in range(len(classes)))
    space = Space(
        names,
        np.repeat(np.arange(len(classes), dtype=np.int32), classes),
        np.ones(len(classes), bool),
        (1,) * len(classes),
    )
    outputs = tuple(zip(names, classes, strict=True))
    model = Model(Encoder(own_loop.encode), heads.Heads(outputs), space, own_loop.WIDTH)
    expected = jax.jit(
        lambda params, batch: gradients.differentiate(
            mtra.make(model, beta=own_loop.BETA, epsilon=own_loop.EPSILON),
            params,
            batch,
            {"method": jax.random.key(0), "dropout": jax.random.key(1)},
            (),
            tasks=names,
            one_task=False,
            axis_name=None,
        )
    )(trainers_params(params), trainers_batch(batch, classes))
    close = {"rtol": 1e-11, "atol": 1e-13}
    np.testing.assert_allclose(value, expected.objective, **close)
    np.testing.assert_allclose(aligned.loss, expected.losses, **close)
    np.testing.assert_allclose(aligned.weight, expected.weights, **close)
    assert not aligned.is_floored.any()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **close),
        trainers_params(gradient),
        expected.grads,
    )


def test_the_page_shows_the_code_of_the_example():
    page = (ROOT / "mtra_jax/objectives/README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    code = (EXAMPLES / "mtra_own_loop.py").read_text(encoding="utf-8")
    assert shown in code
    for name in ("losses_fn", "is_perturbed", "grad_fn = ", "def step"):
        assert name in shown
    assert len(shown.splitlines()) < 50


def test_ones_own_loop_decreases_the_objective(own_loop, capsys):
    values = own_loop.main(num_steps=200)
    assert np.mean(values[-10:]) < np.mean(values[:10]) - 0.4
    assert "step 100: objective" in capsys.readouterr().out


@pytest.fixture(scope="module")
def any_model():
    return config_files.execute(str(EXAMPLES / "any_model.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uw", "pcgrad", "nash_mtl"])
def test_models_of_all_libraries_train_alike(name, any_model, float64):
    losses = {
        library: any_model.train(
            any_model.BALANCERS[name], *make(any_model.draw_layers()), num_steps=30
        )
        for library, make in any_model.MODELS.items()
    }
    assert losses.keys() == {"linen", "nnx", "plain"}
    for own in losses.values():
        np.testing.assert_allclose(own, losses["plain"], rtol=1e-9)
    assert losses["plain"].dtype == np.float64
    assert losses["plain"].shape == (30, 3)
    assert (losses["plain"][-1] < 0.7 * losses["plain"][0]).all()


def test_the_first_losses_of_the_models_are_those_of_numpy(any_model, float64):
    x, labels = any_model.draw_data()
    layers = jax.tree.map(np.asarray, any_model.draw_layers())
    z = np.tanh(x @ layers["shared"]["kernel"])
    expected = []
    for task, own in enumerate(labels):
        outputs = z @ layers[f"head{task}"]["kernel"]
        logs = outputs - np.logaddexp.reduce(outputs, axis=1, keepdims=True)
        expected.append(-logs[np.arange(len(own)), own].mean())
    losses = any_model.train(
        any_model.BALANCERS["nash_mtl"],
        *any_model.plain_model(any_model.draw_layers()),
        num_steps=1,
    )
    np.testing.assert_allclose(losses[0], expected, rtol=1e-12)
