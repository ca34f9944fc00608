"""MTRA and its ablations, with the values of Table 10.

    python scripts/train.py --config configs/mtra.py:tiny_synthetic --workdir runs/tiny

Names are BACKBONE_BENCHMARK: roberta, bert, minilm or tiny (a new encoder) with
tweeteval, affecteval or synthetic. The ablations are `--config.method.task_alignment`,
`.self_alignment` and `.logarithm` set to false.
"""

from ml_collections import ConfigDict

from mtra_jax import config


def get_config(name: str) -> ConfigDict:
    """The configuration of preset `name`."""
    return config.preset(name, method="mtra")
