"""Figures: what they show, embedded fonts, and the line about a missing matplotlib."""

import re
import sys
import zlib

import numpy as np
import pytest
from tiers import rest_nightly

from mtra_jax.errors import InputError
from mtra_jax.reports.pictures import drawing, figures
from mtra_jax.reports.statistics import ranks


def test_a_missing_matplotlib_is_one_line_with_its_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError) as error:
        figures.conflict_heat_map(np.eye(2), ["a", "b"])
    assert str(error.value) == (
        "figures need matplotlib, which is not installed; expected pip install "
        "matplotlib"
    )


def test_no_two_lines_of_a_picture_of_all_methods_look_alike():
    looks = [drawing.look(place) for place in range(20)]
    assert len({(look["color"], look["linestyle"]) for look in looks}) == 20
    assert len({look["color"] for look in looks[:6]}) == 6


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([1.0, 1.5, 2.5, 4.0], [(0, 1), (1, 2)]),
        ([1.0, 1.2, 1.4], [(0, 2)]),
        ([1.0, 3.0, 5.0], []),
    ],
)
def test_bars_join_the_longest_runs_of_ranks(means, expected):
    assert figures._groups(means, 1.2) == expected


def test_bins_are_means_of_equal_parts():
    steps = np.arange(1.0, 4 * figures.BINS + 1)
    binned, means = figures._binned(steps, steps**2)
    assert len(binned) == figures.BINS
    assert binned[0] == 2.5
    assert means[0] == 7.5
    assert len(figures._binned(steps[:3], steps[:3])[0]) == 3


@pytest.fixture(scope="module")
def drawn():
    pytest.importorskip("matplotlib", reason="no matplotlib: the extra plots")
    lines = [{"step": i, "loss/irony": 2.0 / i} for i in range(1, 9)]
    lines.append({"step": 8, "validation/loss/irony": 0.5})
    rng = np.random.default_rng(0)
    curves = np.array([[70.0, 60.0], [72.0, 64.0]])
    ranking = ranks.compare("abcd", rng.normal(size=(9, 4)) + np.array([0, 1, 2, 9]))
    groups = {"task": ["a"] * 20 + ["b"] * 20, "label": ["x", None] * 20}
    return {
        "curves": figures.learning_curves({"ew": lines, "si": []}, {"irony": "Irony"}),
        "conflicts": figures.conflict_heat_map(
            np.array([[1.0, -0.25], [np.nan, 1.0]]), ["one", "two"]
        ),
        "gradients": figures.gradient_curves(
            [
                {"step": 2, "conflict_share": 1.0, "norm/one": 3.0, "weight/one": 0.5},
                {"step": 4, "conflict_share": None, "norm/one": 2.0, "norm/two": 1.0},
            ],
            {"one": "One", "two": "Two"},
        ),
        "grid": figures.option_grid(
            np.array([[60.0, 64.25], [61.0, 62.0]]), ("β", [0.1, 1]), ("ε", [1, 5])
        ),
        "robustness": figures.robustness_curves(
            [0, 2], {"ew": curves, "si": curves[0]}
        ),
        "epochs": figures.robustness_curves([0, 1, 2], {"ew": np.arange(3.0)}, "epoch"),
        "plane": figures.plane(
            {"ew": np.array([[1.0, 2.0], [3.0, 4.0], [np.nan, 5.0]])}, "012", "x", "y"
        ),
        "ranks": figures.critical_differences(ranking),
        "z": figures.representations(rng.normal(size=(40, 2)), groups, [0.5, 0.25]),
    }


def test_curves_hold_the_losses_of_the_lines(drawn):
    training, validation, *empty = drawn["curves"].axes[0].lines
    np.testing.assert_allclose(training.get_ydata(), [2.0 / i for i in range(1, 9)])
    assert validation.get_xydata().tolist() == [[8, 0.5]]
    assert [len(line.get_xdata()) for line in empty] == [0, 0]


def test_cells_carry_their_numbers_and_a_missing_one_is_empty(drawn):
    axes = drawn["conflicts"].axes[0]
    assert [text.get_text() for text in axes.texts] == ["1.00", "-0.25", "1.00"]
    assert axes.images[0].get_clim() == (-1, 1)


def test_gradient_curves_leave_out_what_a_line_lacks(drawn):
    conflicts, norms, weights = drawn["gradients"].axes
    points = [
        [x.get_xydata().tolist() for x in axes.lines] for axes in (norms, weights)
    ]
    assert conflicts.lines[0].get_xydata().tolist() == [[2, 1]]
    assert points == [[[[2, 3], [4, 2]], [[4, 1]]], [[[2, 0.5]], []]]


def test_the_largest_figure_of_a_grid_is_framed(drawn):
    (frame,) = drawn["grid"].axes[0].patches
    assert frame.get_xy() == (0.5, -0.5)


def test_bands_are_one_deviation_around_the_mean(drawn):
    axes = drawn["robustness"].axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[71, 62], [70, 60]]
    (band,) = axes.collections  # one seed has none
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(71 + np.sqrt(2))
    assert heights.min() == pytest.approx(62 - np.sqrt(8))


def test_epochs_have_whole_numbers(drawn):
    ticks = drawn["epochs"].axes[0].get_xticks()
    assert all(float(tick).is_integer() for tick in ticks)


def test_points_of_a_plane_have_their_epochs(drawn):
    axes = drawn["plane"].axes[0]
    np.testing.assert_array_equal(
        axes.lines[0].get_xydata(), [[1, 2], [3, 4], [np.nan, 5]]
    )
    numbers = {text.get_text(): (*map(float, text.xy),) for text in axes.texts}
    assert numbers == {"0": (1, 2), "1": (3, 4)}


def test_methods_stand_at_their_mean_ranks(drawn):
    texts = [text.get_text().strip() for text in drawn["ranks"].axes[0].texts]
    assert texts[:4] == ["1", "2", "3", "4"]
    assert texts[4] == "d (1.0)"
    assert "critical difference" in texts[-1]


def test_points_without_a_group_stay_grey(drawn):
    panel = drawn["z"].axes[1]
    assert [len(c.get_offsets()) for c in panel.collections] == [20, 20]
    assert panel.get_xlabel() == "component 1 (50 %)"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name",
    rest_nightly(
        ["curves", "conflicts", "gradients", "grid", "ranks", "z"], ["curves", "grid"]
    ),
)
def test_files_are_written_with_embedded_fonts(drawn, name, tmp_path):
    png, pdf = drawing.save(drawn[name], tmp_path / f"v1.0-{name}")
    assert (png.name, pdf.name) == (f"v1.0-{name}.png", f"v1.0-{name}.pdf")
    assert png.read_bytes().startswith(b"\x89PNG")
    content = pdf.read_bytes()
    parts = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    text = content + b"".join(_unpacked(part) for part in parts)
    assert b"/FontFile2" in text  # TrueType, embedded
    assert b"/Type3" not in text
    again = drawing.save(drawn[name], tmp_path / "again")
    assert again[1].read_bytes() == content, "the same figure gives the same file"


def _unpacked(part):
    try:
        return zlib.decompress(part)
    except zlib.error:
        return b""
