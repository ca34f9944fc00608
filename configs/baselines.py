"""The methods that MTRA is compared with, and other balancers, under its settings.

    python scripts/train.py --config configs/baselines.py:ew_tiny_synthetic --workdir runs/ew

Names are METHOD_PRESET: METHOD is a row of `mtra_jax/methods/registry.py`, PRESET one of
`configs/mtra.py`. As in the paper, all methods share MTRA's settings apart from their
options. Costs and scores (`results/README.md` has the tables):

METHOD_tiny_synthetic
    Two cores of an AMD EPYC, 24 GiB. Avg. (test) of two seeds: ew 67.76, si 67.64, tw
    50.54, uw 67.45, gls 60.45, dwa 66.03, pcgrad 66.21, imtl_l 65.26, rlw 62.28, mt_vib
    69.81, vmtl 52.31, hierarchical_mtl 73.27, infomtl 65.45, stl 67.23, stl_cnn 48.02 (24
    November 2026, commit bb8ced1, before a change of the initial weights and of the
    dropout masks). Time: not measured.
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
