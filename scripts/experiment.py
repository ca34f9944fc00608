"""Trains what a table of the papers needs, as `mtra-jax experiment` does.

python scripts/experiment.py main --scale smoke --workdir runs/smoke
"""

from mtra_jax.commands import verbs

if __name__ == "__main__":
    verbs.run("experiment")
