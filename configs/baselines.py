"""The methods that MTRA is compared with, under its settings.

    python scripts/train.py --config configs/baselines.py:ew_tiny_synthetic --workdir runs/ew

Names are METHOD_BACKBONE_BENCHMARK: METHOD is a row of `mtra_jax/methods/registry.py`.
"""

from ml_collections import ConfigDict

from mtra_jax import config, errors
from mtra_jax.methods import registry


def get_config(name: str) -> ConfigDict:
    """The configuration of METHOD_BACKBONE_BENCHMARK."""
    names = [f"{m}_{p}" for m in registry.METHODS for p in config.PRESETS]
    if name not in names:
        hint = errors.did_you_mean(name, names)
        raise errors.InputError(f"unknown preset {name!r}; {hint}")
    method, backbone, benchmark = name.rsplit("_", 2)
    return config.preset(f"{backbone}_{benchmark}", method)
