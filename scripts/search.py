"""Searches values of each method on validation, as `mtra-jax search` does.

python scripts/search.py ew,mtra --preset tiny_synthetic --workdir runs/search
"""

from mtra_jax.commands import verbs

if __name__ == "__main__":
    verbs.run("search")
