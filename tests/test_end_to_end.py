"""The training script in a process, as a user starts it: the one run of the fast tier."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import xla_flags

from mtra_jax import config as configs

ROOT = Path(__file__).resolve().parents[1]
PRESET = "configs/mtra.py:tiny_synthetic"
SMALL = (
    "--config.tasks=irony,intensity",
    "--config.data.limit=100",
    "--config.epochs=2",
    "--config.data.max_shapes=1",
    "--config.data.cache_dir=",
)


@pytest.mark.end_to_end
def test_a_tiny_run_trains_and_leaves_its_files(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "scripts/train.py"),
            *(f"--config={PRESET}", f"--workdir={tmp_path}", *SMALL),
        ],
        cwd=ROOT,
        env=xla_flags.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "results.json").read_text())
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("MTRA"))
    assert row.endswith(f" {results['test']['avg']:.2f}")
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    objectives = [x["objective"] for x in map(json.loads, lines) if "objective" in x]
    assert len(objectives) == results["steps"]
    assert all(map(math.isfinite, objectives))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["method"] == configs.to_dict(configs.load(PRESET))["method"]
    assert (tmp_path / "encoder" / "model.safetensors").exists()
    tasks = sorted(path.stem for path in (tmp_path / "predictions").iterdir())
    assert tasks == ["intensity", "irony"]
