"""Asks a language model about the test texts, as `mtra-jax prompt` does.

python scripts/prompt.py --endpoint URL --model NAME --benchmark synthetic --workdir DIR
"""

from mtra_jax.commands import verbs

if __name__ == "__main__":
    verbs.run("prompt")
