"""Writes a finished run as a model to use elsewhere, as `mtra-jax export` does.

python scripts/export.py runs/tiny --to models/tiny
"""

from mtra_jax.commands import verbs

if __name__ == "__main__":
    verbs.run("export")
