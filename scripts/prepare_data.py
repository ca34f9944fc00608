"""Fetches, copies or checks the benchmarks, as `mtra-jax prepare` does.

python scripts/prepare_data.py --data_dir data --download
"""

from mtra_jax.commands import verbs

if __name__ == "__main__":
    verbs.run("prepare")
