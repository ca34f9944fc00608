"""`python -m mtra_jax VERB FLAGS` -> the command `mtra-jax VERB FLAGS`."""

from mtra_jax.commands import verbs

if __name__ == "__main__":
    verbs.main()
