"""Whole MTRA steps in float64 against an independent implementation in PyTorch.

`oracle_mtra.npz` holds the results of `oracle_mtra.py`. If PyTorch is installed, a test
computes them again.
"""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from tiers import NIGHTLY_ONLY, rest_nightly

from mtra_jax.data.packed import batches, plans
from mtra_jax.data.tokenizing.tokens import Tokens
from mtra_jax.methods import gradients, mtra
from mtra_jax.methods.model import Model, Space
from mtra_jax.models import encoder, heads, naming
from mtra_jax.train import optimiser, step
from mtra_jax.train.devices import AXIS, Program, to_host

HERE = Path(__file__).parent
TASKS = ("alpha", "beta", "gamma")
SPACE = Space(
    TASKS, np.array([0, 0, 0, 1, 1, 2, 2]), np.array([True, False, True]), (0, 0, 0)
)
RTOL = 1e-8


@pytest.fixture(scope="module")
def oracle():
    return dict(np.load(HERE / "oracle_mtra.npz"))


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def make_model(oracle):
    fields = (
        "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size "
        "max_position_embeddings type_vocab_size"
    )
    config = encoder.EncoderConfig(
        **{name: int(oracle[f"config/{name}"]) for name in fields.split()},
        layer_norm_eps=float(oracle["config/layer_norm_eps"]),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    sizes = tuple(zip(TASKS, SPACE.num_outputs.tolist(), strict=True))
    return Model(
        encoder.Encoder(config, dtype=np.float64),
        heads.Heads(sizes),
        SPACE._replace(label_entropies=oracle["cap/ceilings"]),
        config.hidden_size,
    )


def as_params(oracle, prefix, config, like=None):
    """Parameters as a tree, from the oracle's names; absent heads are zeros of `like`.

    For its size the file has no encoder layers for the ablations, nor has their tree.
    """
    start = len(prefix)
    arrays = {k[start:]: v for k, v in oracle.items() if k.startswith(prefix)}
    names = {
        k.removeprefix("encoder/"): v
        for k, v in arrays.items()
        if k.startswith("encoder/")
    }
    stored = any("encoder.layer" in name for name in names)
    if not stored:
        names |= {
            entry.name: np.zeros(entry.shape)
            for entry in naming.entries(config)
            if entry.name not in names
        }
    tree = {
        "encoder": naming.from_huggingface(names, config),
        "heads": {},
        "method": {},
    }
    if not stored:
        tree["encoder"] = {"embeddings": tree["encoder"]["embeddings"]}
    for task in TASKS:
        if f"heads/{task}/weight" in arrays:
            tree["heads"][task] = {
                "kernel": arrays[f"heads/{task}/weight"].T,
                "bias": arrays[f"heads/{task}/bias"],
            }
        else:
            tree["heads"][task] = jax.tree.map(np.zeros_like, like["heads"][task])
    if "statistics/W1" in arrays:
        tree["method"]["statistics"] = {
            "from_z": {
                "kernel": arrays["statistics/W1"].T,
                "bias": arrays["statistics/b"],
            },
            "from_y": {"kernel": arrays["statistics/W2"].T},
            "score": {"kernel": arrays["statistics/w3"][:, None]},
        }
    return tree


def make_batch(oracle, case, batch_size, num_devices=1):
    """Packs the case's texts in a batch of `batch_size` places."""
    offsets = oracle[f"{case}/offsets"]
    size = len(offsets) - 1
    corpus = batches.Corpus(
        Tokens(oracle[f"{case}/tokens"], offsets),
        oracle[f"{case}/tasks"],
        oracle[f"{case}/targets"],
        (size, 0, 0),
    )
    plan = np.full((1, batch_size), plans.PADDING)
    plan[0, :size] = np.arange(size)
    batcher = batches.Batcher(
        corpus,
        num_devices=num_devices,
        local_devices=range(num_devices),
    )
    partners = np.arange(batch_size)
    partners[:size] = oracle[f"{case}/partners"]
    packed = batcher.pack(plan[0], np.random.default_rng(0))
    shared = partners.reshape(-1, num_devices).T.astype(np.int32)
    return packed._replace(partners=shared[:, None])


def make_method(oracle, model, **options):
    options = {"beta": float(oracle["config/beta"]), **options}
    return mtra.make(
        model,
        epsilon=float(oracle["config/epsilon"]),
        floor=float(oracle["config/floor"]),
        width=8,
        **options,
    )


def run(oracle, cases, batch_size, num_devices=1, one_task=True, **options):
    """Yields the state and metrics after each of the consecutive steps `cases`."""
    model = make_model(oracle)
    method = make_method(oracle, model, **options)
    schedule = optax.constant_schedule(float(oracle["config/learning_rate"]))
    optimise = optimiser.make(schedule, TASKS)
    params = as_params(oracle, "", model.encoder.config)
    if not options.get("task_alignment", True):
        params["method"] = {}
    update = step.make_update(
        method,
        optimise,
        tasks=TASKS,
        one_task=one_task,
        axis_name=AXIS,
    )
    devices = jax.devices()[:num_devices]
    program = Program(update, devices, donate_first=True)
    state = to_host(step.init_state(method, optimise, params, jax.random.key(0)))
    for case in cases:
        state, metrics = program(
            state, make_batch(oracle, case, batch_size, num_devices)
        )
        yield to_host(state), to_host(metrics)


def gradients_of(oracle, case, one_task=True, **options):
    model = make_model(oracle)
    method = make_method(oracle, model, **options)
    params = as_params(oracle, "", model.encoder.config)
    if not options.get("task_alignment", True):
        params["method"] = {}
    batch = jax.tree.map(lambda x: x[0], make_batch(oracle, case, 12))
    rngs = step.step_rngs(jax.random.key(0), 0, None)
    result = jax.jit(
        lambda params, batch: gradients.differentiate(
            method,
            params,
            batch,
            rngs,
            (),
            tasks=TASKS,
            one_task=one_task,
            axis_name=None,
        )
    )(params, batch)
    expected = as_params(oracle, f"{case}/gradients/", model.encoder.config, params)
    return result, expected


def assert_trees_close(actual, expected, rtol=RTOL):
    """With `rtol` of each array's largest entry, or the rounding of the tree's largest.

    The gradients of the biases of the attention's keys are nothing but rounding.
    """
    rounding = 1e-14 * max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    if len(expected["encoder"]) == 1:
        actual = {**actual, "encoder": {"embeddings": actual["encoder"]["embeddings"]}}
    flat, structure = jax.tree_util.tree_flatten_with_path(expected)
    assert jax.tree.structure(actual) == structure
    for (path, want), got in zip(flat, jax.tree.leaves(actual), strict=True):
        atol = max(rtol * np.abs(want).max(), rounding)
        np.testing.assert_allclose(
            got, want, rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path)
        )


def assert_metrics(metrics, oracle, case):
    present = ~np.isnan(oracle[f"{case}/task_losses"])
    np.testing.assert_array_equal(metrics["present"], present)
    pairs = {
        "task_losses": metrics["terms"]["task"],
        "bounds": metrics["terms"]["mi"],
        "ta_losses": metrics["losses"],
        "sa_losses": metrics["terms"]["perturbed"],
    }
    for name, actual in pairs.items():
        expected = oracle[f"{case}/{name}"]
        np.testing.assert_allclose(
            actual[present], expected[present], rtol=RTOL, err_msg=name
        )
    scalars = metrics["scalars"]
    for name, actual in {
        "perturbation_gradient_norm": scalars["norm/perturbation_gradient"],
        "objective": metrics["objective"],
        "gradient_norm": scalars["norm/grads"],
    }.items():
        np.testing.assert_allclose(actual, oracle[f"{case}/{name}"], rtol=RTOL)


@pytest.mark.slow
@pytest.mark.torch
def test_pytorch_reproduces_the_stored_results(oracle):
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("oracle", HERE / "oracle_mtra.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    live = module.compute()
    assert live.keys() == oracle.keys()
    for name, expected in oracle.items():
        # Small entries of an array are differences of ones as large as its largest.
        atol = 1e-14 * max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(live[name], expected, rtol=RTOL, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize(
    "num_devices",
    [1, pytest.param(2, marks=NIGHTLY_ONLY), 8],
)
def test_three_steps_on_two_tasks_equal_pytorch(oracle, num_devices):
    cases = ("step0", "step1", "step2")
    config = make_model(oracle).encoder.config
    states = run(oracle, cases, batch_size=8, num_devices=num_devices)
    for case, (state, metrics) in zip(cases, states, strict=True):
        assert_metrics(metrics, oracle, case)
        assert_trees_close(state.params, as_params(oracle, f"{case}/after/", config))


@pytest.mark.parametrize("num_devices", [4])
def test_a_step_on_several_tasks_equals_pytorch(oracle, num_devices):
    config = make_model(oracle).encoder.config
    ((state, metrics),) = run(oracle, ["several"], 12, num_devices, one_task=False)
    assert_metrics(metrics, oracle, "several")
    assert_trees_close(state.params, as_params(oracle, "several/after/", config))


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("no_ta", {"task_alignment": False}),
        pytest.param("no_sa", {"self_alignment": False}, marks=pytest.mark.slow),
        pytest.param("no_log", {"logarithm": False}, marks=pytest.mark.slow),
        pytest.param("all_pairs", {"marginal": "all_pairs"}, marks=pytest.mark.slow),
        ("tangent", {"beta": 50.0}),
        ("smile", {"bound": "smile", "clip": 0.5}),
        pytest.param("info_nce", {"bound": "info_nce"}, marks=pytest.mark.slow),
        pytest.param("jsd", {"bound": "jsd"}, marks=pytest.mark.slow),
        pytest.param("cap", {"cap": True}, marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_gradients_of_one_task_equal_pytorch(oracle, case, options):
    result, expected = gradients_of(oracle, case, **options)
    np.testing.assert_allclose(result.objective, oracle[f"{case}/objective"], rtol=RTOL)
    norm = optax.tree.norm(result.grads)
    np.testing.assert_allclose(norm, oracle[f"{case}/gradient_norm"], rtol=RTOL)
    if not options.get("task_alignment", True):
        expected["method"] = {}
    assert_trees_close(result.grads, expected)


@pytest.mark.parametrize("case", rest_nightly(["step0", "several"], ["several"]))
def test_gradients_by_cotangents_equal_pytorch(oracle, case):
    result, expected = gradients_of(oracle, case, one_task=False)
    assert_trees_close(result.grads, expected)


@pytest.mark.slow
def test_gradients_with_a_limited_pull_equal_pytorch(oracle):
    """One of the three tasks of the batch has a bound that pulls harder than the loss."""
    result, expected = gradients_of(oracle, "pull", one_task=False, balance="pull")
    shares = oracle["pull/shares"]
    assert (shares == 1).sum() == 2
    np.testing.assert_allclose(result.terms["pull"], shares, rtol=RTOL)
    np.testing.assert_allclose(result.objective, oracle["pull/objective"], rtol=RTOL)
    assert_trees_close(result.grads, expected)


OPTIONS = {
    "all_pairs": {"marginal": "all_pairs"},
    "smile": {"bound": "smile", "clip": 0.5},
    "info_nce": {"bound": "info_nce"},
    "jsd": {"bound": "jsd"},
    "pull": {"balance": "pull"},
}


def marks_of(case, num_devices):
    """One case is fast; the bound that gathers rows of four devices is slow."""
    if (case, num_devices) == ("pull", 4):
        return ()
    return pytest.mark.slow if (case, num_devices) == ("info_nce", 4) else NIGHTLY_ONLY


@pytest.mark.parametrize(
    ("case", "num_devices"),
    [
        pytest.param(case, n, marks=marks_of(case, n))
        for case in OPTIONS
        for n in (1, 4)
    ],
)
def test_options_equal_pytorch_on_any_number_of_devices(oracle, case, num_devices):
    options = {**OPTIONS[case], "one_task": case != "pull"}
    ((_, metrics),) = run(oracle, [case], 12, num_devices, **options)
    assert_metrics(metrics, oracle, case)
    if case == "pull":
        np.testing.assert_allclose(
            metrics["terms"]["pull"], oracle["pull/shares"], rtol=RTOL
        )
