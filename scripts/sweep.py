"""Trains the runs of a sweep, as `mtra-jax sweep` does.

python scripts/sweep.py --config configs/sweep.py:synthetic --workdir runs/synthetic
"""

from mtra_jax.commands import verbs

if __name__ == "__main__":
    verbs.run("sweep")
