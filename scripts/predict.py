"""Labels texts with a trained model, as `mtra-jax predict` does.

python scripts/predict.py --workdir runs/tiny --task polarity < texts.txt
"""

from mtra_jax.commands import verbs

if __name__ == "__main__":
    verbs.run("predict")
