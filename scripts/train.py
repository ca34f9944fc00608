"""Trains a method, as `mtra-jax train` does.

python scripts/train.py --config configs/mtra.py:tiny_synthetic --workdir runs/tiny
"""

from mtra_jax.commands import verbs

if __name__ == "__main__":
    verbs.run("train")
