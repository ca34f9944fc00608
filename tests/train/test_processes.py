"""Two real processes train as one does, through the script."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--config=configs/mtra.py:tiny_synthetic",
    "--config.tasks=irony,intensity",
    "--config.epochs=1",
    "--config.data.fraction=0.3",
    "--config.backbone.num_hidden_layers=1",
    "--config.backbone.hidden_size=32",
    "--config.backbone.intermediate_size=64",
    # Adamax moves a parameter by about the rate whatever its gradient's size, so that
    # rounding grows with every step: small steps keep it small.
    "--config.learning_rate=1e-4",
    "--config.data.cache_dir=",
)


def start(workdir, num_devices, *flags):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
    }
    return subprocess.Popen(
        [sys.executable, "scripts/train.py", f"--workdir={workdir}", *FLAGS, *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def losses_of(workdir):
    lines = [
        json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()
    ]
    return [line["objective"] for line in lines if "objective" in line]


def test_two_processes_of_two_devices_equal_one_of_four(tmp_path):
    port = free_port()
    processes = [start(tmp_path / "one", 4)]
    processes += [
        start(
            tmp_path / "two",
            2,
            "--distributed",
            f"--coordinator=127.0.0.1:{port}",
            "--num_processes=2",
            f"--process_id={index}",
        )
        for index in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-3000:]
    one, two = losses_of(tmp_path / "one"), losses_of(tmp_path / "two")
    assert two == pytest.approx(one, rel=1e-3, abs=1e-4)
