"""Measures how fast a configuration trains on this machine; needs a clone.

  mtra-jax benchmark --config configs/mtra.py:minilm_tweeteval --config.data.dir=data \\
      [--method ew,mtra] [--against torch] [--trace DIR] [--json]
"""

from collections.abc import Sequence
from pathlib import Path

from mtra_jax import cli, config_files
from mtra_jax.errors import InputError

SCRIPT = Path("scripts", "benchmark.py")
ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str]) -> None:
    """Runs `scripts/benchmark.py` of the clone around the package or around this place.

    Raises:
      InputError: there is no clone, and the arguments ask for more than the help.
    """
    clones = [p for p in (ROOT, Path.cwd()) if (p / "scripts/benchmarking").is_dir()]
    if not clones:
        parser = cli.Parser(description=__doc__)
        if {"-h", "--help"} & set(arguments):
            parser.parse_args(arguments)
        raise InputError(
            f"no {SCRIPT} here, nor beside the package in {ROOT}: the measurements are not "
            "installed; expected this command in a clone of the repository"
        )
    config_files.execute(str(clones[0] / SCRIPT)).main(arguments)
