"""`tasks.json`: a round trip of every field, damaged files, and tasks that changed."""

import dataclasses
import json

import pytest

from mtra_jax.errors import InputError
from mtra_jax.runs.directory import tasks_json
from mtra_jax.tasks import AFFECTEVAL, Benchmark, Task

OWN = Benchmark(
    "own",
    (
        Task(
            "reviews",
            "Reviews",
            "classification",
            ("bad", "good"),
            ("macro_f1",),
            is_pair=True,
            class_weights=(0.5, 2.0),
            label_smoothing=0.1,
        ),
        Task(
            "stars",
            "Stars",
            "regression",
            ("stars",),
            ("pearson",),
            means=(49.25,),
            deviations=(0.1 + 0.2,),
        ),
    ),
)


@pytest.mark.parametrize("benchmark", [AFFECTEVAL, OWN], ids=lambda b: b.name)
def test_tasks_survive_the_file_to_the_bit(tmp_path, benchmark):
    tasks_json.write(tmp_path, benchmark)
    assert tasks_json.read(tmp_path) == benchmark


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        ("kind", "clasification"),
        ("labels", []),
        ("labels", ["bad", 1]),
        ("labels", "bad"),
        ("metrics", ["no metric"]),
        ("is_pair", 1),
        ("means", ["1"]),
        ("means", [1.0]),
        ("class_weights", [1.0]),
        ("label_smoothing", "0.1"),
        ("name", None),
        ("another", 1),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, place, wrong):
    content = tasks_json.to_json(OWN)
    content["tasks"][0] = {**content["tasks"][0], place: wrong}
    path = tmp_path / tasks_json.FILE
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        tasks_json.read(tmp_path)
    assert str(error.value).startswith(f"{path}: damaged: ")


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": 2}', "null", "{"])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, content):
    path = tmp_path / tasks_json.FILE
    path.write_text(content)
    with pytest.raises(InputError) as error:
        tasks_json.read(tmp_path)
    assert str(error.value).startswith(f"{path}: damaged: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("labels", ("good", "bad")),
        ("metrics", ("macro_recall",)),
        ("is_pair", False),
    ],
)
def test_changed_tasks_are_refused_with_both_values(tmp_path, field, value):
    tasks_json.write(tmp_path, OWN)
    first, *others = OWN.tasks
    changed = dataclasses.replace(first, **{field: value})
    with pytest.raises(InputError) as error:
        tasks_json.check(tmp_path, Benchmark("own", (changed, *others)))
    for part in (field, "reviews", repr(getattr(first, field)), repr(value)):
        assert part in str(error.value)


def test_another_title_and_statistics_of_the_data_are_accepted(tmp_path):
    tasks_json.write(tmp_path, OWN)
    first, second = OWN.tasks
    first = dataclasses.replace(first, title="Better reviews")
    second = dataclasses.replace(second, means=(), deviations=())
    tasks_json.check(tmp_path, Benchmark("own", (first, second)))


def test_other_tasks_are_refused(tmp_path):
    tasks_json.write(tmp_path, OWN)
    with pytest.raises(InputError, match="reviews, stars"):
        tasks_json.check(tmp_path, Benchmark("own", OWN.tasks[:1]))
