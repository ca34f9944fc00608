"""Options of methods out of their ranges: one line with the key, the value, what is expected."""

import math

import jax
import pytest
from messages import assert_mentions

from mtra_jax.errors import InputError
from mtra_jax.methods import options, registry

INFINITE = (math.nan, math.inf)
OUT_OF_RANGE = {
    options.check_weight: (-0.5, *INFINITE),
    options.check_positive: (0.0, -1.0, *INFINITE),
    options.check_share: (-0.01, 1.01, *INFINITE),
}
IN_RANGE = {
    options.check_weight: (0.0, 3.0),
    options.check_positive: (1e-30, 3.0),
    options.check_share: (0.0, 0.5, 1.0),
}


@pytest.mark.parametrize(
    ("check", "value"), [(c, v) for c, values in OUT_OF_RANGE.items() for v in values]
)
def test_a_value_out_of_range_is_refused(check, value):
    with pytest.raises(InputError) as error:
        check("name", value)
    assert_mentions(error.value, "method.name", value, "expected")


@pytest.mark.parametrize(
    ("check", "value"), [(c, v) for c, values in IN_RANGE.items() for v in values]
)
def test_a_value_in_range_is_accepted(check, value):
    check("name", value)


@pytest.mark.parametrize("check", OUT_OF_RANGE)
def test_an_argument_of_a_program_has_no_value_to_check(check):
    @jax.jit
    def program(value):
        check("name", value)
        return value

    assert program(-1.0) == -1


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
    ("excess_mtl", "rate", 0.0, ["positive"]),
    ("gradvac", "decay", 2.0, ["[0, 1]"]),
    ("mgda", "solver", "x", ["exact", "frank_wolfe"]),
    ("infomtl", "hidden", -1, [0]),
    ("infomtl", "kl", "class", ["classes"]),
    ("mtra", "balance", "x", ["none", "pull"]),
    ("mtra", "bound", "infonce", ["info_nce"]),
    ("mtra", "bound", "x", ["mine", "smile", "info_nce", "jsd"]),
    ("mtra", "marginal", "shufle", ["shuffle"]),
    ("mtra", "marginal", "x", ["shuffle", "all_pairs"]),
    ("mtra", "width", 0, [1]),
    ("samo", "alpha", 1.5, [1]),
    ("samo", "balancer", "fairgard", ["fairgrad"]),
    ("stl_cnn", "num_filters", 0, [1]),
]
CASES = [
    *((m, key, -0.5, [0]) for m, keys in WEIGHTS.items() for key in keys),
    *((m, key, 0.0, [0]) for m, keys in POSITIVE.items() for key in keys),
    *OTHERS,
]


@pytest.mark.parametrize(("method", "key", "value", "expected"), CASES)
def test_a_method_names_the_key_of_its_option(method, key, value, expected):
    with pytest.raises(InputError) as error:
        registry.example(method, **{key: value})
    assert_mentions(error.value, f"method.{key}", value, *expected)
