"""Pictures of experiments: the figures that their lines are drawn from."""

import numpy as np
import pytest

from mtra_jax.reports.comparisons import comparison
from mtra_jax.runs.studies import experiments
from mtra_jax.runs.studies import figures as study_figures
from mtra_jax.runs.sweeps import sweep
from mtra_jax.runs.trained import analyses

CATALOGUE = experiments.load()


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """The arguments of the curves, by the name of the picture."""
    calls = {}
    monkeypatch.setattr(
        study_figures.figures, "robustness_curves", lambda *arguments: arguments
    )
    monkeypatch.setattr(
        study_figures.drawing,
        "save",
        lambda figure, path: calls.update({path.name: figure}) or (path, path),
    )
    return calls


def entry(name, seed, avg):
    return comparison.Entry(name, seed, (), {"test": {"avg": avg}}, {})


def test_levels_are_a_line_for_each_method(drawn, monkeypatch, tmp_path):
    study = experiments.make(CATALOGUE, "data_size", seeds=(0, 1))
    entries = [
        entry(name, seed, level + seed)
        for name, level in [
            ("mtra data 20 %", 20.0),
            ("mtra data 60 %", 60.0),
            ("mtra data 80 %", 80.0),
            ("mtra", 100.0),
        ]
        for seed in (0, 1)
    ]
    monkeypatch.setattr(sweep, "read", lambda directory: entries[:-1])
    study_figures.draw(study, tmp_path)
    levels, curves, label = drawn["data_size"]
    assert levels == [0.2, 0.6, 0.8, 1.0]
    assert label == "share of the training examples"
    assert list(curves) == ["ew", "ew joint", "si", "uw", "mt_vib", "infomtl", "mtra"]
    np.testing.assert_equal(curves["mtra"], [[20, 60, 80, 100], [21, 61, 81, np.nan]])
    assert np.isnan(curves["ew"]).all()


def test_each_option_of_a_method_has_a_picture(drawn, monkeypatch, tmp_path):
    study = experiments.make(CATALOGUE, "sensitivity", seeds=(0,))
    entries = [entry("mtra", 0, 70.0), entry("mtra beta=2", 0, 66.0)]
    monkeypatch.setattr(sweep, "read", lambda directory: entries)
    study_figures.draw(study, tmp_path)
    assert set(drawn) == {
        *("sensitivity-mtra-beta", "sensitivity-mtra-epsilon"),
        *(f"sensitivity-infomtl-{o}" for o in ("alpha", "beta", "temperature")),
    }
    levels, curves, label = drawn["sensitivity-mtra-beta"]
    assert (levels, list(curves), label) == ([0.5, 1.0, 2.0], ["mtra"], "beta")
    np.testing.assert_equal(curves["mtra"], [[np.nan, 70, 66]])


def test_the_value_of_the_preset_is_a_point_of_the_curve(drawn, monkeypatch, tmp_path):
    study = experiments.make(
        CATALOGUE, "sensitivity", "paper", "tiny", "synthetic", seeds=(0,)
    )
    entries = [entry("mtra", 0, 70.0), entry("mtra beta=2", 0, 66.0)]
    monkeypatch.setattr(sweep, "read", lambda directory: entries)
    study_figures.draw(study, tmp_path)
    levels, curves, _ = drawn["sensitivity-mtra-beta"]
    assert levels == [0.1, 0.5, 1.0, 2.0]
    np.testing.assert_equal(curves["mtra"], [[70, np.nan, np.nan, 66]])


def test_epochs_that_a_run_lacks_end_its_line(drawn, monkeypatch, tmp_path):
    study = experiments.make(CATALOGUE, "conflicts", seeds=(0, 1))
    cosines = {"ew": {"0": 0.1, "2": 0.2, "10": 0.3}, "mtra": {"0": 0.4, "2": 0.5}}
    monkeypatch.setattr(analyses.layout, "read_results", lambda directory: {})
    monkeypatch.setattr(
        analyses,
        "figures",
        lambda place, name, most: {"cosine": cosines[place.parent.name]},
    )
    study_figures.draw(study, tmp_path)
    epochs, curves, label, measure = drawn["conflicts-cosine"]
    assert (epochs, label, measure) == ([0.0, 2.0, 10.0], "epoch", "cosine")
    np.testing.assert_equal(curves["mtra"], [[0.4, 0.5, np.nan]] * 2)
    np.testing.assert_equal(curves["ew"], [[0.1, 0.2, 0.3]] * 2)


def test_the_plane_has_the_means_of_both_figures(drawn, monkeypatch, tmp_path):
    study = experiments.make(CATALOGUE, "information_plane", seeds=(0, 1))
    monkeypatch.setattr(study_figures.figures, "plane", lambda *arguments: arguments)
    monkeypatch.setattr(analyses.layout, "read_results", lambda directory: {})

    def figures(place, name, most):
        seed = float(place.name.removeprefix("seed"))
        return {
            "I(X; Z)": {"0": 1.0 + seed, "1": 2.0 + seed},
            "I(Z; Z_t)": {"0": 3.0 - seed, "1": 4.0},
        }

    monkeypatch.setattr(analyses, "figures", figures)
    study_figures.draw(study, tmp_path)
    paths, epochs, *axes = drawn["information_plane"]
    assert (epochs, axes) == (["0", "1"], ["I(X; Z)", "I(Z; Z_t)"])
    parts = ["infomtl w/o SIMax", "infomtl w/o TIMin"]
    assert list(paths) == ["ew", "mt_vib", "infomtl", "mtra", *parts]
    np.testing.assert_equal(paths["mtra"], [[1.5, 2.5], [2.5, 4.0]])
    assert {"information_plane-i_x__z", "information_plane-i_z__z_t"} <= set(drawn)


def test_tables_without_numbers_as_columns_have_no_picture(
    drawn, monkeypatch, tmp_path
):
    study = experiments.make(CATALOGUE, "alignment", seeds=(0,))
    monkeypatch.setattr(analyses.layout, "read_results", lambda directory: {})
    values = {"train": {"TA loss": 1.0, "SA loss": 2.0}}
    monkeypatch.setattr(analyses, "figures", lambda place, name, most: values)
    assert study_figures.draw(study, tmp_path) == []
    assert drawn == {}
