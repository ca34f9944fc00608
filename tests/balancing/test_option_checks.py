"""Ranges of options: what lies in them, what does not, and numbers without a value."""

import math

import jax
import pytest

from mtra_jax.balancing import checks

INFINITE = (math.nan, math.inf)
OUT_OF_RANGE = {
    checks.not_negative: (-0.5, "1", *INFINITE),
    checks.positive: (0.0, -1.0, None, *INFINITE),
    checks.share: (-0.01, 1.01, *INFINITE),
}
IN_RANGE = {
    checks.not_negative: (0.0, 0, 3.0),
    checks.positive: (1e-30, 3.0),
    checks.share: (0.0, 0.5, 1.0),
}


def pairs(values):
    return [(check, value) for check, own in values.items() for value in own]


@pytest.mark.parametrize(("check", "value"), pairs(OUT_OF_RANGE))
def test_a_value_out_of_range_is_refused(check, value):
    with pytest.raises(checks.OptionError) as error:
        check("name", value)
    assert (error.value.name, error.value.choices) == ("name", ())
    assert str(error.value).startswith("`name` must be ")
    assert str(error.value).endswith(f"; found {value!r}.")


@pytest.mark.parametrize(("check", "value"), pairs(IN_RANGE))
def test_a_value_in_range_is_accepted(check, value):
    check("name", value)


@pytest.mark.parametrize("check", OUT_OF_RANGE)
def test_an_argument_of_a_program_has_no_value_to_check(check):
    @jax.jit
    def program(value):
        check("name", value)
        return value

    assert program(-1.0) == -1


def test_a_choice_is_one_of_its_texts():
    checks.choice("name", "b", ("a", "b", "c"))
    with pytest.raises(checks.OptionError) as error:
        checks.choice("name", "d", ("a", "b", "c"))
    assert str(error.value) == "`name` must be a, b or c; found 'd'."
    assert error.value.choices == ("a", "b", "c")
