"""Scores a run, as `mtra-jax evaluate` does.

python scripts/evaluate.py --workdir runs/tiny --split validation
"""

from mtra_jax.commands import verbs

if __name__ == "__main__":
    verbs.run("evaluate")
