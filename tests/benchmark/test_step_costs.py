"""Operations equal those of the traced encoder, collectives those of a program."""

import functools

import compile_events
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import step_costs
from jax.extend import core

from mtra_jax.models.encoder import Encoder, EncoderConfig
from mtra_jax.models.pretrained import init_encoder
from mtra_jax.train.devices import AXIS, Program

CONFIG = EncoderConfig(
    vocab_size=30,
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=40,
    max_position_embeddings=16,
)


def product_flops(jaxpr):
    """Two for each multiplication of the matrix products of a traced function."""
    count = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (left, _), _ = equation.params["dimension_numbers"]
            depth = np.prod([equation.invars[0].aval.shape[axis] for axis in left])
            count += 2 * equation.outvars[0].aval.size * depth
        for inner in core.jaxprs_in_params(equation.params):
            count += product_flops(inner)
    return count


def traced(length, transform):
    """The products of one text of `length` in a row that it fills."""
    params = init_encoder(CONFIG, jax.random.key(0))
    ids = np.zeros((1, length), np.int32)

    def value(params):
        states = Encoder(CONFIG).apply(
            {"params": params},
            ids,
            ids + 1,
            np.arange(length)[None],
            jnp.zeros(1, jnp.int32),
            deterministic=True,
        )
        return jnp.sum(states**2)

    return product_flops(jax.make_jaxpr(transform(value))(params).jaxpr)


@pytest.mark.parametrize("length", [1, 7, 16])
def test_operations_are_those_of_the_products_that_run(length):
    assert step_costs.forward_flops(CONFIG, [length]) == traced(length, lambda f: f)


def test_a_step_has_three_times_the_forward_operations_of_each_pass():
    counted = step_costs.step_flops(CONFIG, [9], passes=2)
    assert counted == 2 * traced(9, jax.value_and_grad)


def test_texts_add_up():
    apart = [step_costs.forward_flops(CONFIG, [length]) for length in (3, 5, 5)]
    assert step_costs.forward_flops(CONFIG, [3, 5, 5]) == sum(apart)


def test_collectives_of_a_real_program_are_counted():
    def mean(replicated, shard):
        # More than five, which XLA's text numbers in comments.
        parts = {str(n): shard[:n] for n in range(1, 7)}
        return jax.lax.psum(parts, AXIS), replicated

    program = Program(mean, jax.devices()[:4], donate_first=False)
    shards = np.ones((4, 6), np.float32)
    counted = step_costs.collectives(program.compiled(np.zeros(1), shards).as_text())
    assert counted.keys() == {"all-reduce"}
    assert counted["all-reduce"].num_bytes == 4 * (1 + 2 + 3 + 4 + 5 + 6)
    alone = Program(mean, jax.devices()[:1], donate_first=False)
    text = alone.compiled(np.zeros(1), shards[:1]).as_text()
    assert all(kind == "all-reduce" for kind in step_costs.collectives(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%a = (f32[3,2]{1,0}, bf16[4]{0}) all-reduce(%b, %c)", (1, 0, 32)),
        ("%a = f32[] all-reduce-start(%b)", (1, 0, 4)),
        ("%a = pred[8]{0} all-reduce(%b)\n%d = s64[2]{0} all-reduce(%e)", (2, 0, 24)),
        ("%a = (f32[1025]{0}, /*index=5*/f32[2]{0}) all-reduce(%b, %c)", (1, 1, 4108)),
        ("%a = f32[3]{0} add(%all-reduce.1, %b)", None),
    ],
)
def test_bytes_of_a_collective_are_those_of_its_results(text, expected):
    assert step_costs.collectives(text).get("all-reduce") == expected


def test_memory_is_arguments_results_and_buffers():
    def shifted(replicated, shard):
        return replicated + jnp.sum(shard)

    state, shards = np.zeros(1000, np.float32), np.ones((1, 50), np.float32)
    sizes = {}
    for donate in (False, True):
        program = Program(shifted, jax.devices()[:1], donate_first=donate)
        sizes[donate] = step_costs.memory(program.compiled(state, shards))
    assert sizes[False].state == sizes[True].state == 4 * (1000 + 50)
    # The result takes the place of a state that is given away; buffers end at 64 bytes.
    saved = sizes[False].peak - sizes[True].peak
    assert saved == pytest.approx(4 * 1000, abs=2 * 64)


def test_compilations_are_counted_once_each():
    function = jax.jit(functools.partial(jnp.multiply, 3.0))
    with compile_events.collected() as events:
        for size in (5, 6, 5):
            function(np.ones(size, np.float32))
        assert events.num_compiled == 2
    function(np.ones(7, np.float32))
    assert events.num_compiled == 2


def test_the_rate_of_products_is_that_of_a_processor():
    """It is 0.01 to 1e6 times 1e9 operations per second, so the unit is right."""
    rate = step_costs.matrix_rate(jnp.float32, jax.devices()[0], seconds=0.05)
    assert 1e7 < rate < 1e15
