"""Trains EW, the sum of the losses and MTRA on the built-in benchmark and stores their figures.

    python scripts/store_figures.py --workdir runs/stored [--machine "two cores of an AMD EPYC"]

Writes mtra_jax/reports/comparisons/stored_runs.json, which `train.py` shows beside its own figures,
and the tables in README.md and results/README.md. Runs in --workdir that have finished
are not trained again. The package must be a clean checkout: its commit is stored.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mtra_jax import cli
from mtra_jax.errors import InputError
from mtra_jax.reports.comparisons import stored

ROOT = Path(__file__).resolve().parents[1]
EW = "--config configs/baselines.py:ew_tiny_synthetic"
# By the name of the row: the method, and the flags of its run.
RUNS = {
    "EW": ("ew", EW),
    "EW sum": ("ew", f"{EW} --config.method.reduction=sum"),
    "MTRA": ("mtra", "--config configs/mtra.py:tiny_synthetic"),
}
PAGES = {"README.md": stored.text_block, "results/README.md": stored.markdown_block}
BEGIN, END = "<!-- stored figures: begin -->\n", "<!-- stored figures: end -->\n"


def main(arguments: Sequence[str]) -> None:
    parser = cli.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="the directory of the runs")
    parser.add_argument(
        "--machine", help="class of the hardware; looked up if not given"
    )
    flags = cli.parse(parser, arguments)
    workdir = cli.output_directory(flags.workdir)
    runs = [
        stored_run(name, *run, workdir, flags.machine or machine())
        for name, run in RUNS.items()
    ]
    text = json.dumps([run._asdict() for run in runs], indent=2)
    stored.PATH.write_text(f"{text}\n", encoding="utf-8")
    for page, block in PAGES.items():
        replace_block(ROOT / page, block(runs))
        print(f"wrote {page}")


def stored_run(name: str, method: str, flags: str, root: Path, machine: str):
    """Trains a run with `flags`, unless it has finished below `root`; returns its record."""
    directory = name.lower().replace(" ", "_")
    workdir = root / directory
    command = ["python", "scripts/train.py", *flags.split(), "--workdir"]
    run = [sys.executable, *command[1:], str(workdir.absolute()), "--quiet"]
    subprocess.run(run, cwd=ROOT, check=True)
    values = {
        name: json.loads((workdir / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("config", "environment", "results")
    }
    # So that the file is the same on every machine.
    values["config"]["data"]["cache_dir"] = ""
    commit = values["environment"]["git_revision"]
    if not re.fullmatch("[0-9a-f]{40}", commit or ""):
        raise InputError(f"{workdir}: commit {commit}; expected a clean checkout")
    ended = (workdir / "results.json").stat().st_mtime
    return stored.StoredRun(
        name=name,
        method=method,
        command=shlex.join([*command, f"runs/{directory}"]),
        date=datetime.fromtimestamp(ended, UTC).date().isoformat(),
        commit=commit,
        machine=machine,
        packages=values["environment"]["packages"],
        config=values["config"],
        results=values["results"],
    )


def machine() -> str:
    """The number of cores, and the model of the CPU if Linux reports it."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return f"{os.cpu_count()} cores of {model[1] if model else 'an unknown CPU'}"


def replace_block(page: Path, block: str) -> None:
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise InputError(f"{page}: expected one block between {BEGIN!r} and {END!r}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}{block}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
