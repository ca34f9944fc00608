"""The small trained model of `trained_models`, made once."""

import pytest
import trained_models

import mtra_jax


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The directory of the run."""
    directory = tmp_path_factory.mktemp("api") / "run"
    trained_models.train(directory)
    return directory


@pytest.fixture(scope="session")
def model(run):
    return mtra_jax.load(run, cache_dir="")
