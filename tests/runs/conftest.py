"""The smallest run of the training script as a process, and the files that it leaves."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import xla_flags
from messages import without_progress

from mtra_jax.runs.directory import checkpoints

ROOT = Path(__file__).resolve().parents[2]
# Twelve steps in three epochs; checkpoints after steps 2, 4, 6, ...
FLAGS = (
    f"--config={ROOT}/configs/baselines.py:ew_new_synthetic",
    "--config.tasks=irony,intensity",
    "--config.data.fraction=0.1",
    "--config.epochs=3",
    "--config.backbone.hidden_size=16",
    "--config.backbone.intermediate_size=32",
    "--config.backbone.num_hidden_layers=1",
    "--config.batch_size=64",
    "--config.checkpoint_every=2",
)


class Script:
    """Starts scripts as processes, with planted faults (see `fault.py`)."""

    def __init__(self, cache):
        self.flags = (*FLAGS, f"--config.data.cache_dir={cache}")

    def start(self, name, *flags, faults=(), devices=1, stdout=subprocess.PIPE):
        """A process; `train.py` gets the flags of the smallest run as well."""
        command = [str(ROOT / "scripts" / name), *map(str, flags)]
        if name == "train.py":
            command += self.flags
        if faults:
            command = [str(ROOT / "tests/runs/fault.py"), json.dumps(faults), *command]
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=xla_flags.environment(devices) | {"TQDM_DISABLE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process, code=0):
        """Returns standard output, and standard error without progress lines."""
        try:
            output, errors = process.communicate(timeout=600)
        finally:
            process.kill()
        assert process.returncode == code, errors[-3000:]
        return output, without_progress(errors)

    def run(self, name, *flags, code=0, **options):
        """Starts a script and waits for its end."""
        return self.finish(self.start(name, *flags, **options), code)

    def train(self, workdir, *flags, code=0, faults=()):
        """Trains in `workdir`; returns standard error."""
        options = {"code": code, "faults": faults}
        return self.run("train.py", f"--workdir={workdir}", *flags, **options)[1]


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    return Script(tmp_path_factory.mktemp("cache"))


def contents(workdir):
    """All files of a run except times, versions and TensorBoard events."""
    result = {}
    if (workdir / "results.json").exists():
        results = json.loads((workdir / "results.json").read_text())
        results.pop("train_seconds")
        results.pop("scoring_seconds")
        result["results"] = results
    store = checkpoints.Checkpoints(workdir / "checkpoints", read_only=True)
    for name, step in (("latest", store.latest_step()), ("best", store.best_step())):
        state, record = store._read(step)
        record.pop("seconds")
        leaves = jax.tree.leaves_with_path(state)
        result[name] = (
            step,
            record,
            {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves},
        )
    store.close()
    for pattern in ("predictions/**/*.txt", "encoder/*", "metrics.jsonl"):
        for path in workdir.glob(pattern):
            result[str(path.relative_to(workdir))] = path.read_bytes()
    return result


@pytest.fixture(scope="session")
def contents_of():
    """The function of that name, for tests that compare two runs."""
    return contents


@pytest.fixture(scope="session")
def undisturbed(script, tmp_path_factory):
    """The work directory of a run without a fault."""
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert script.train(workdir) == ""
    return workdir


@pytest.fixture(scope="session")
def same_end(undisturbed):
    """Compares a finished run with the undisturbed one, to the bit."""
    expected = contents(undisturbed)
    assert {"results", "latest", "best", "metrics.jsonl"} < expected.keys()

    def compare(workdir):
        np.testing.assert_equal(contents(workdir), expected)

    return compare
