"""The public names, with their signatures and examples."""

import inspect

import pytest

from mtra_jax import objectives

SIGNATURES = {
    "cross_entropy": ["logits", "targets", "where", "axis_name"],
    "binary_cross_entropy": ["logits", "targets", "where", "axis_name"],
    "mean_squared_error": ["outputs", "targets", "where", "axis_name"],
    "dv_bound": ["joint", "marginal", "where", "axis_name"],
    "smile_bound": ["joint", "marginal", "clip", "where", "axis_name"],
    "jsd_bound": ["joint", "marginal", "where", "axis_name"],
    "info_nce_bound": ["joint", "pairs", "where", "axis_name"],
    "info_nce": ["queries", "keys", "temperature", "where", "axis_name"],
    "gaussian_kl": ["mean", "log_variance", "where", "axis_name"],
    "init_critic": ["rng", "z_width", "y_width"],
    "critic_scores": ["params", "z", "y"],
    "fgm_perturbation": ["gradient", "epsilon"],
    "floored_log": ["x", "floor"],
    "log_sum": ["losses", "floor", "where"],
    "aligned_value_and_grad": ["loss_fn", "epsilon", "select", "floor"],
}
DEFAULTS = {"where": None, "axis_name": None, "floor": 1e-2}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature_starts_as_designed(name):
    parameters = inspect.signature(getattr(objectives, name)).parameters
    expected = SIGNATURES[name]
    assert list(parameters)[: len(expected)] == expected
    for argument in expected:
        default = DEFAULTS.get(argument, inspect.Parameter.empty)
        assert parameters[argument].default == default
    for extra in list(parameters)[len(expected) :]:
        assert parameters[extra].default is not inspect.Parameter.empty


def test_options_of_the_aligned_gradient_are_keywords():
    parameters = inspect.signature(objectives.aligned_value_and_grad).parameters
    for name in ("epsilon", "select", "floor"):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", SIGNATURES)
def test_docstring_has_an_example(name):
    assert ">>> " in inspect.getdoc(getattr(objectives, name))


@pytest.mark.parametrize("name", SIGNATURES)
def test_docstring_lists_the_errors(name):
    assert "Raises" in inspect.getdoc(getattr(objectives, name))


@pytest.mark.parametrize(
    "name",
    [
        "cross_entropy",
        "binary_cross_entropy",
        "dv_bound",
        "smile_bound",
        "jsd_bound",
        "info_nce_bound",
        "info_nce",
        "critic_scores",
        "fgm_perturbation",
        "log_sum",
        "aligned_value_and_grad",
    ],
)
def test_docstring_cites_the_paper(name):
    assert "Source" in inspect.getdoc(getattr(objectives, name))
