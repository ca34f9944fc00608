"""Balancers of one's own, trained by `mtra_jax.train` under a name."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trained_models

import mtra_jax
from mtra_jax import balancing, errors
from mtra_jax.methods import registry


@pytest.fixture(autouse=True)
def restored():
    before = dict(registry.METHODS)
    yield
    registry.METHODS.clear()
    registry.METHODS.update(before)


def of_squares(power: float = 2.0) -> balancing.Balancer:
    """L = Σ_t ℓ_t^power / power."""

    def combine(inputs, state):
        losses = jnp.where(inputs.present, inputs.losses, 1)
        return balancing.Combined(jnp.sum(inputs.present * losses**power) / power)

    return balancing.Balancer(lambda count: balancing.State(), combine)


def lines_of(workdir):
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_a_run_trains_continues_and_predicts_with_it(tmp_path):
    """With power 1 it is the sum of the losses; with 2 the weights are the losses."""
    mtra_jax.add_method("squares", of_squares)
    own, ew = tmp_path / "own", tmp_path / "ew"
    method = {"name": "squares", "power": 1.0}
    model = trained_models.train(own, method=method, epochs=2)
    trained_models.train(
        ew, method={"name": "ew", "reduction": "sum"}, sampling="joint", epochs=2
    )
    assert lines_of(own) == lines_of(ew)
    text = "never again"
    expected = model.predict([text])
    assert mtra_jax.load(own, cache_dir="").predict([text]) == expected
    trained_models.train(tmp_path / "two", method="squares", epochs=1)
    for line in lines_of(tmp_path / "two"):
        for key in line:
            if key.startswith("weight/"):
                loss = line[key.replace("weight", "loss")]
                assert line[key] == pytest.approx(loss, rel=1e-6)
    mtra_jax.export(own, tmp_path / "exported")
    del registry.METHODS["squares"]
    place = re.escape(f"{own}/config.json: unknown method 'squares'; MTRA_JAX_METHODS=")
    with pytest.raises(errors.InputError, match=f"^{place}.*; known: ew, "):
        mtra_jax.load(own, cache_dir="")
    # A whole model needs no code of its balancer.
    exported = mtra_jax.load(tmp_path / "exported", cache_dir="")
    assert exported.predict([text]) == expected
    card = (tmp_path / "exported/README.md").read_text()
    assert '| `method` | `"squares"` |' in card
    assert "| `method.power` | `1.0` |" in card


def test_an_environment_variable_names_a_file_that_adds_methods(tmp_path, monkeypatch):
    file = tmp_path / "own.py"
    file.write_text(
        "import mtra_jax\nfrom mtra_jax import balancing\n"
        "mtra_jax.add_method('plain', lambda: balancing.ew('sum'), title='Plain')\n"
    )
    monkeypatch.setenv("MTRA_JAX_METHODS", str(file))
    monkeypatch.setattr(registry, "_executed", set())
    assert registry.title("plain", {}) == "Plain"
    registry._executed.clear()
    del registry.METHODS["plain"]
    file.write_text("import mtra_jax\n\n1 / 0\n")
    with pytest.raises(errors.InputError, match=rf"{file}:3: ZeroDivisionError: "):
        registry.title("plain", {})
    file.write_text("import mtra_jax\nmtra_jax.add_method('plain', lambda: 3)\n")
    with pytest.raises(errors.InputError, match=rf"{file}:2: method plain: .*Balancer"):
        registry.title("plain", {})
    monkeypatch.setenv("MTRA_JAX_METHODS", str(tmp_path / "none.py"))
    with pytest.raises(
        errors.InputError, match=r"^MTRA_JAX_METHODS: .*none\.py: no such"
    ):
        registry.title("plain", {})
    monkeypatch.delenv("MTRA_JAX_METHODS")
    with pytest.raises(errors.InputError, match="unknown method 'plain'"):
        registry.title("plain", {})


def test_a_file_of_methods_may_name_an_unknown_method(tmp_path, monkeypatch):
    """It is executed once, not again by its own line."""
    file = tmp_path / "own.py"
    file.write_text(
        "from mtra_jax.methods import registry\nregistry.options('no_such')\n"
    )
    monkeypatch.setenv("MTRA_JAX_METHODS", str(file))
    monkeypatch.setattr(registry, "_executed", set())
    for _ in range(2):
        with pytest.raises(
            errors.InputError, match="unknown method 'no_such'; MTRA_JAX"
        ):
            registry.options("plain")


def test_options_are_the_numbers_and_texts_of_its_function():
    mtra_jax.add_method("squares", of_squares, title="Squares", sampling="per_task")
    assert registry.options("squares") == {"power": 2.0}
    entry = registry.METHODS["squares"]
    assert (entry.title, entry.sampling, entry.in_papers) == (
        "Squares",
        "per_task",
        False,
    )
    mtra_jax.add_method("squares", lambda: of_squares(3.0))
    assert registry.options("squares") == {}
    assert registry.sampling("squares") == "joint"


HALF = np.float32(0.5)


def test_defaults_of_numpy_are_numbers():
    def scaled(factor=HALF, where=None):
        return balancing.ew(weights=[factor, factor])

    mtra_jax.add_method("scaled", scaled)
    assert registry.options("scaled") == {"factor": 0.5}
    assert type(registry.options("scaled")["factor"]) is float


def test_a_balancer_of_gradients_may_learn():
    """Two steps of Adam on ξ, whose penalty is its square."""

    def init(count, params):
        return balancing.State(learned=jnp.ones(count), memory=params)

    def combine(inputs, state):
        mean = jax.tree.map(lambda g: g.mean(axis=0), inputs.gradients)
        penalty = jnp.sum(state.learned**2)
        return balancing.Combined(mean, state.memory, penalty)

    mtra_jax.add_method(
        "own",
        lambda: balancing.Balancer(init, combine, balancing.Reads.GRADIENTS),
        rate=0.1,
    )
    rule = registry.example("own").rule
    gradients = {"w": jnp.array([[1.0, 3.0], [3.0, 5.0]])}
    state = rule.init(2, {"w": jnp.zeros(2)})
    for _ in range(2):
        inputs = balancing.Inputs(
            jnp.ones(2), jnp.array([True, True]), gradients=gradients
        )
        result = rule.combine(inputs, state)
        state = state._replace(memory=result.memory)
    np.testing.assert_array_equal(result.value["w"], [2, 4])
    # Adam's first steps have the length of the rate.
    np.testing.assert_allclose(state.memory.learned, 0.8, rtol=1e-3)


def test_learned_numbers_move_as_those_of_famo():
    mtra_jax.add_method("mine", balancing.famo, rate=np.float64(0.025), decay=1e-3)
    assert registry.options("mine") == registry.options("famo")
    present = jnp.array([True, True])
    ends = []
    for name in ("mine", "famo"):
        rule = registry.example(name).rule
        state = rule.init(2)
        for step in range(3):
            losses = jnp.array([1.0, 2.0 / (step + 1)])
            inputs = balancing.Inputs(losses, present)
            state = state._replace(memory=rule.combine(inputs, state).memory)
        ends.append(state)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), *ends))
    moved = (
        ends[0].memory.learned != registry.example("mine").rule.init(2).memory.learned
    )
    assert moved.any()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "parts"),
    [
        (("ew", of_squares), {}, errors.InputError, "'ew'.*not the name of a method"),
        (("my way", of_squares), {}, errors.InputError, "'my way'; expected an ident"),
        (("own", of_squares), {"sampling": "jiont"}, errors.InputError, "mean joint"),
        (("own", of_squares), {"sampling": ["joint"]}, errors.InputError, "joint"),
        ((3, of_squares), {}, errors.InputError, "name is 3; expected an ident"),
        (("own", of_squares), {"decay": 0.1}, errors.InputError, "without rate"),
        (
            ("own", balancing.excess_mtl),
            {"rate": 0.1},
            errors.InputError,
            "own: the argument rate of its function",
        ),
        (
            ("own", lambda name="x": balancing.ew()),
            {},
            errors.InputError,
            r"the option method\.name",
        ),
        (("own", lambda: 3), {}, errors.InputError, "Balancer"),
        (("own", balancing.gls()), {}, errors.InputError, "the function itself"),
        (("own", dict), {}, errors.InputError, "method own: "),
        (("own", of_squares), {"title": 5}, errors.InputError, "title is 5"),
        (
            ("own", lambda: balancing.gls()._replace(reads="losses")),
            {},
            errors.InputError,
            "`reads` must be a value",
        ),
        (
            ("own", lambda: balancing.gls()._replace(init=lambda count: ())),
            {},
            errors.InputError,
            "`init` must return a State",
        ),
        (("own", balancing.famo), {}, errors.InputError, "`rate` of `add_method`"),
        (("own", balancing.tw), {}, errors.InputError, "counts"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_added(
    arguments, options, error, parts
):
    before = dict(registry.METHODS)
    with pytest.raises(error, match=parts):
        mtra_jax.add_method(*arguments, **options)
    assert before == registry.METHODS
    mtra_jax.add_method("own", of_squares)
    own = registry.METHODS["own"]
    if arguments[0] == "own":
        with pytest.raises(error, match=parts):
            mtra_jax.add_method(*arguments, **options)
    assert registry.METHODS["own"] is own
