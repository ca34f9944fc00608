"""Prints the results of a sweep as a table, as `mtra-jax report` does.

python scripts/report.py runs/synthetic --format markdown
"""

from mtra_jax.commands import verbs

if __name__ == "__main__":
    verbs.run("report")
