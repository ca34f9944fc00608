"""Options of methods out of their ranges: one line with the key, the value, what is expected."""

import math

import pytest
from messages import assert_mentions

from mtra_jax.errors import InputError
from mtra_jax.methods import registry

WEIGHTS = {
    "hierarchical_mtl": ["beta", "shared_beta"],
    "infomtl": ["alpha", "beta"],
    "mt_vib": ["beta"],
    "mtra": ["beta", "epsilon"],
    "vmtl": ["beta", "gamma"],
}
POSITIVE = {
    "dwa": ["temperature"],
    "famo": ["rate"],
    "infomtl": ["temperature"],
    "mtra": ["floor", "clip", "critic_rate"],
    "samo": ["rho", "mu"],
    "si": ["floor"],
    "vmtl": ["temperature"],
}
OTHERS = [
    # Options of functions in `balancing`, whose rules are their own.
    ("cagrad", "c", -1.0, ["0 or more"]),
    ("cagrad", "c", math.inf, ["finite"]),
    ("excess_mtl", "rate", 0.0, ["more than 0"]),
    ("gradvac", "decay", 2.0, ["at most 1"]),
    ("mgda", "solver", "x", ["exact", "frank_wolfe"]),
    ("mgda", "solver", 5, ["exact", "frank_wolfe"]),
    ("stch", "reference", math.nan, ["finite"]),
    ("famo", "minimum", math.inf, ["finite"]),
    ("infomtl", "hidden", 0.5, ["integer", 0]),
    ("infomtl", "hidden", -1, [0]),
    ("infomtl", "kl", "class", ["classes"]),
    ("mtra", "balance", "x", ["none", "pull"]),
    ("mtra", "bound", "infonce", ["info_nce"]),
    ("mtra", "bound", "x", ["mine", "smile", "info_nce", "jsd"]),
    ("mtra", "marginal", "shufle", ["shuffle"]),
    ("mtra", "marginal", "x", ["shuffle", "all_pairs"]),
    ("mtra", "width", 0, ["integer", 1]),
    ("samo", "alpha", 1.5, ["at most 1"]),
    ("samo", "balancer", "fairgard", ["fairgrad"]),
    ("stl_cnn", "num_filters", 0, ["integer", 1]),
]
CASES = [
    *((m, key, -0.5, [0]) for m, keys in WEIGHTS.items() for key in keys),
    *((m, key, 0.0, ["more than 0"]) for m, keys in POSITIVE.items() for key in keys),
    *OTHERS,
]


@pytest.mark.parametrize(("method", "key", "value", "expected"), CASES)
def test_a_method_names_the_key_of_its_option(method, key, value, expected):
    with pytest.raises(InputError) as error:
        registry.example(method, **{key: value})
    assert_mentions(error.value, f"method.{key}", value, *expected)
