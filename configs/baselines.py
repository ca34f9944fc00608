"""The methods that MTRA is compared with, and other balancers, under its settings.

    python scripts/train.py --config configs/baselines.py:ew_tiny_synthetic --workdir runs/ew

Names are METHOD_PRESET: METHOD is a row of `mtra_jax/methods/registry.py`, PRESET one of
`configs/mtra.py`. As in the paper, all methods share MTRA's settings apart from their
options. Costs and scores (`results/` has the tables):

METHOD_tiny_synthetic
    Two cores of an AMD EPYC, 24 GiB. Avg. (test) of five seeds with the values of
    `results/synthetic_found.toml`: ew 74.00, si 87.28, tw 76.79, uw 79.62, gls 67.04, dwa
    83.29, pcgrad 84.70, imtl_l 73.93, rlw 73.80, mt_vib 86.08, vmtl 64.23,
    hierarchical_mtl 86.85, infomtl 80.23, stl 79.50, stl_cnn 60.77 (27 November 2026,
    commit 6cbdceb). Time: not measured.
ew_minilm_tweeteval, ew_minilm_affecteval
    Whole runs: not measured. Avg. 54.32 and 35.08 in the short runs of `configs/mtra.py`.
All others
    Hardware, time and score: not measured.
"""

from pathlib import Path

from ml_collections import ConfigDict

from mtra_jax import config, config_files, errors, tasks
from mtra_jax.methods import registry

MTRA = config_files.execute(str(Path(__file__).with_name("mtra.py")))
OWN_TASKS = config_files.execute(str(Path(__file__).with_name("own.py")))

# InfoMTL, Table 8. The defaults of the method are its values for RoBERTa.
INFOMTL_FOR_BERT = {
    "method.alpha": 0.01,
    "method.beta": 1.0,
    "method.temperature": 0.1,
    "head_dropout": 0.0,
}
# (method, backbone) -> values that differ from MTRA's preset.
OWN = {
    ("infomtl", "bert"): INFOMTL_FOR_BERT,
    ("infomtl", "minilm"): INFOMTL_FOR_BERT,
}


def preset(name: str, method: str) -> ConfigDict:
    """Returns preset `name` of `configs/mtra.py`, or "own", for `method`.

    "own" has the values of `configs/own.py`; `data.tasks` remains to be set.

    Raises:
      InputError: an unknown preset or method.
    """
    names = (*MTRA.TABLE_10, tasks.OWN)
    if name not in names:
        raise errors.InputError(
            f"unknown preset {name!r}; {errors.did_you_mean(name, names)}"
        )
    values = OWN_TASKS.values("") if name == tasks.OWN else MTRA.values(name)
    if method != "mtra":
        values = {k: v for k, v in values.items() if not k.startswith("method.")}
    values |= OWN.get((method, name.partition("_")[0]), {})
    return config.make(method, values)


def get_config(name: str) -> ConfigDict:
    """Returns the configuration of METHOD_PRESET."""
    names = [f"{m}_{p}" for m in registry.METHODS for p in MTRA.TABLE_10]
    if name not in names:
        hint = errors.did_you_mean(name, names)
        raise errors.InputError(f"unknown preset {name!r}; {hint}")
    method, backbone, benchmark = name.rsplit("_", 2)
    return preset(f"{backbone}_{benchmark}", method)
