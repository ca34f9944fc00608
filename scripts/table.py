"""Prints the results of finished runs as one table, as `mtra-jax table` does.

python scripts/table.py EW=runs/ew MTRA=runs/tiny --markdown
"""

from mtra_jax.commands import verbs

if __name__ == "__main__":
    verbs.run("table")
