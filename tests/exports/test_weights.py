"""Parameters as named tensors: what they mean, and the way back."""

import dataclasses

import jax
import made_models
import numpy as np
import pytest
import toys

from mtra_jax.errors import InputError
from mtra_jax.exports import reading, weights
from mtra_jax.methods import registry


def features(tensors, z):
    """The input of the heads in NumPy."""
    name = weights.BOTTLENECK
    if f"{name}.weight" in tensors:
        return z @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]
    return z


# `test_other_runtimes` has the filters of stl_cnn, on texts of several tokens.
@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in registry.of_papers() if n != "stl_cnn"])
def test_the_outputs_of_every_method_follow_from_the_tensors(name):
    """A method with another forward pass needs another form of export."""
    toy = toys.Toy()
    params = jax.tree.map(np.float32, toy.params(name))
    batch = toy.batch(toys.MIXTURES["all"])
    tensors = weights.to_tensors(params)
    outputs = np.asarray(toy.make(name).losses(params, batch, None, None).outputs)
    table = params["encoder"]["embeddings"]["word_embeddings"]["embedding"]
    z = table[batch.tokens.ravel()]
    for task, task_name in enumerate(toy.names):
        rows = np.flatnonzero(batch.where & (batch.tasks == task))
        head = f"heads.{task_name}"
        hidden = np.maximum(features(tensors, z[rows]), 0)
        expected = hidden @ tensors[f"{head}.weight"].T + tensors[f"{head}.bias"]
        own = toy.model.space.slot_tasks == task
        np.testing.assert_allclose(outputs[np.ix_(rows, own)], expected, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["ew", "mt_vib", "vmtl", "hierarchical_mtl", "infomtl"]
)
def test_a_written_model_is_read_back_to_the_bit(name, tmp_path):
    saved = made_models.make_saved(name)
    again = reading.read(made_models.written(tmp_path / "model", saved), cache_dir="")
    jax.tree.map(np.testing.assert_array_equal, again.params, saved.params)
    assert again.benchmark == saved.benchmark
    assert again.inputs == saved.inputs
    assert again.config.method == saved.config.method
    assert again.config.data.max_length == saved.config.data.max_length


def test_weights_of_other_tasks_are_refused_in_one_line(tmp_path):
    saved = made_models.make_saved()
    directory = made_models.written(tmp_path / "model", saved)
    wide = dataclasses.replace(made_models.TASKS[0], labels=("a", "b"))
    for tasks, fault in (
        ((wide, *made_models.TASKS[1:]), "heads.mood.bias has shape"),
        (
            made_models.TASKS[1:],
            "unexpected weights: heads.mood.bias, heads.mood.weight",
        ),
    ):
        other = made_models.make_saved(tasks=tasks)
        weights.write(directory, saved.params)
        reading.tasks_json.write(directory, other.benchmark)
        with pytest.raises(InputError, match=fault) as error:
            reading.read(directory, cache_dir="")
        assert str(error.value).startswith(str(directory / weights.FILE))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"format": 99}', "newer"),
        ('{"format": 1}', "damaged"),
        ('{"format": 1, "method": {"name": "none"}, "evaluation": {}}', "method"),
    ],
)
def test_a_damaged_export_is_refused_in_one_line(content, fault, tmp_path):
    directory = made_models.written(tmp_path / "model", made_models.make_saved())
    (directory / reading.FILE).write_text(content)
    with pytest.raises(InputError, match=fault) as error:
        reading.read(directory, cache_dir="")
    assert str(error.value).startswith(str(directory / reading.FILE))


def test_an_absent_file_is_named(tmp_path):
    directory = made_models.written(tmp_path / "model", made_models.make_saved())
    (directory / weights.FILE).unlink()
    with pytest.raises(InputError, match=weights.FILE):
        reading.read(directory, cache_dir="")
