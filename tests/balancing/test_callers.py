"""Arguments of a step: other types and trees, wrong shapes, donation, devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_apply import data, losses_fn, losses_of_z, make_params, represent

from mtra_jax import balancing


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


def narrow(dtype):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), make_params())
    return params, [jnp.asarray(array, dtype) for array in data()]


@pytest.mark.parametrize(
    "dtype", [slow(jnp.bfloat16), jnp.float16], ids=["bfloat16", "float16"]
)
@pytest.mark.parametrize("with_z", [False, True], ids=["whole", "representation"])
def test_narrow_gradients_are_compared_in_float32(dtype, with_z):
    params, (x, y) = narrow(dtype)
    # The squares of these gradients overflow in float16.
    scale = jnp.asarray(300, dtype)
    options = {"represent": represent} if with_z else {}
    function = losses_of_z if with_z else losses_fn
    step = balancing.value_and_grad(
        lambda *a: scale * function(*a), balancing.mgda(), **options
    )
    (_, aux), gradient, _ = step(params, balancing.State(), x, y)
    assert aux.gramian.dtype == jnp.float32
    like = represent(params, x, y) if with_z else params
    rows = [
        jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(own)])
        for own in (
            jax.grad(
                lambda v, t=t: (
                    scale
                    * (function(params, v, x, y) if with_z else function(v, x, y))[t]
                )
            )(like)
            for t in range(3)
        )
    ]
    wide = np.stack(rows).astype(np.float64)
    scale_of = np.sqrt(np.outer(*[np.sum(wide**2, axis=1)] * 2))
    np.testing.assert_allclose(
        aux.gramian / scale_of, wide @ wide.T / scale_of, atol=0.05
    )
    jax.tree.map(
        lambda g, p: np.testing.assert_equal(g.dtype, p.dtype), gradient, params
    )


@pytest.mark.parametrize("make", [balancing.ew, balancing.famo, balancing.mgda])
def test_losses_in_bfloat16_are_weighed_in_float32(make):
    params, batch = narrow(jnp.bfloat16)
    balancer = make() if make is not balancing.ew else make(weights=[0.3, 0.6, 0.9])
    step = balancing.value_and_grad(losses_fn, balancer)
    state = balancer.init(3)
    (value, aux), _, _ = step(params, state, *batch)
    assert {value.dtype, aux.losses.dtype, aux.weights.dtype} == {jnp.dtype("float32")}
    if make is balancing.ew:
        np.testing.assert_allclose(aux.weights, [0.1, 0.2, 0.3], rtol=1e-6)
    losses = losses_fn(params, *batch)
    assert losses.dtype == jnp.bfloat16
    given = jax.tree.map(lambda p: jnp.stack([p] * 3), params)
    (value, aux), _, _ = balancing.combine_gradients(balancer, state, losses, given)
    assert {value.dtype, aux.losses.dtype, aux.weights.dtype} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", ["params", "representation"])
def test_leaves_without_a_gradient_are_refused_with_their_place(name):
    params, (x, y) = make_params(), data()
    if name == "params":
        params["steps"] = jnp.array(3)
        step = balancing.value_and_grad(losses_fn, balancing.mgda())
        match = r"`params` must have floats.*found int\d+ at \['steps'\]"
    else:
        step = balancing.value_and_grad(
            losses_of_z,
            balancing.mgda(),
            represent=lambda *a: {"z": represent(*a), "mask": jnp.ones(8, bool)},
        )
        match = r"the representation must have floats.*found bool at \['mask'\]"
    with pytest.raises(ValueError, match=match):
        step(params, balancing.State(), x, y)
    with pytest.raises(ValueError, match="`params` must have arrays; found none"):
        step({}, balancing.State(), x, y)


@pytest.mark.parametrize(
    ("losses", "described"),
    [
        (lambda p: [jnp.sum(p)], "a list"),
        (lambda p: {"a": jnp.sum(p)}, "a dict"),
        (lambda p: (p, 3), "a tuple"),
        (lambda p: jnp.array([1, 2]), r"shape \(2,\) of int"),
        (lambda p: jnp.zeros(0), r"shape \(0,\)"),
    ],
)
def test_losses_that_are_not_one_axis_of_floats_are_refused(losses, described):
    step = balancing.value_and_grad(losses, balancing.ew())
    with pytest.raises(
        ValueError, match=rf"must return losses \[T\]; found {described}"
    ):
        step(jnp.ones(3), balancing.State())
    step = balancing.value_and_grad(lambda p: p, balancing.ew(), has_aux=True)
    with pytest.raises(ValueError, match=r"a pair \(losses, outputs\); found shape"):
        step(jnp.ones(3), balancing.State())


@pytest.mark.parametrize(
    "make",
    [balancing.uw, balancing.famo, balancing.gradnorm, balancing.gradvac],
)
def test_the_state_of_another_number_of_tasks_is_refused(make):
    step = balancing.value_and_grad(lambda p: p**2, make())
    for state in (make().init(1), make().init(4), balancing.State()):
        with pytest.raises(ValueError, match="`state` must be that of `init` for 3"):
            step(jnp.ones(3), state, rng=jax.random.key(0))


@pytest.mark.parametrize(
    "transform", [balancing.value_and_grad, balancing.samo_value_and_grad]
)
def test_a_forgotten_state_is_named(transform):
    step = transform(lambda p, x: x @ p, balancing.cagrad())
    x, rng = jnp.ones((2, 3)), jax.random.key(0)
    with pytest.raises(TypeError, match=r"`state` must be .*; found shape \(2, 3\)"):
        step(jnp.ones(3), x, rng=rng)
    with pytest.raises(TypeError, match=r"`state` must be .*; found a Balancer"):
        jax.jit(lambda p: step(p, balancing.cagrad(), x, rng=rng))(jnp.ones(3))


def test_a_state_in_the_place_of_the_losses_is_named():
    losses, state = jnp.ones(2), balancing.State()
    with pytest.raises(TypeError, match=r"`state` must be .*; found shape \(2,\)"):
        balancing.combine_gradients(balancing.mgda(), losses, state, jnp.ones((2, 3)))


def test_arguments_of_another_number_of_tasks_are_refused():
    params, none = jnp.ones(3), balancing.State()
    step = balancing.value_and_grad(lambda p: p**2, balancing.mgda())
    with pytest.raises(ValueError, match=r"`present` must have shape \(3,\)"):
        step(params, none, present=jnp.array([True]))
    one = step(params, none, present=[1, 0, 1])
    two = step(params, none, present=jnp.array([True, False, True]))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    for chosen in ({"a": True}, 1.0, jnp.ones(3, bool)):
        step = balancing.value_and_grad(
            lambda p: p**2, balancing.mgda(), select=lambda p, chosen=chosen: chosen
        )
        with pytest.raises(ValueError, match="`select` must return a tree of booleans"):
            step(params, none)
    for balancer in (
        balancing.tw([1, 2]),
        balancing.uw([1.0, 2.0]),
        balancing.stch(weights=[1.0, 2.0]),
        balancing.stch(reference=[1.0]),
        balancing.famo([1.0, 2.0]),
        balancing.uw(jnp.ones((3, 1))),
        balancing.uw([np.array([1.0])] * 3),
        balancing.uw({"a": 1.0}),
        balancing.uw(None),
        balancing.uw([[1.0, 2.0], [3.0]]),
        balancing.stch(reference=[1.0, None, 2.0]),
        balancing.famo(object()),
        balancing.uw(float("inf")),
        balancing.uw("x"),
        balancing.stch(weights=[float("nan"), 1.0, 2.0]),
        balancing.stch(reference=float("inf")),
        balancing.famo([0.0, 1.0, float("-inf")]),
    ):
        step = balancing.value_and_grad(lambda p: p**2, balancer)
        with pytest.raises(
            ValueError, match=r"^`\w+` must .*3.*, one for each task; f"
        ):
            step(params, balancer.init(3))


@pytest.mark.parametrize("as_list", [False, True], ids=["array", "list"])
def test_numbers_for_each_task_may_be_traced(as_list):
    """As arguments of a compiled program, in an array or in a list, also in part."""
    losses = jnp.array([2.0, 2.0, 4.0])
    values = np.array([1.0, 3.0, 6.0], np.float32)

    def run(make, numbers):
        balancer = make([*numbers[:2], 6.0] if as_list else numbers)
        step = balancing.value_and_grad(lambda p: p**2, balancer)
        return step(losses, balancer.init(3))

    for make in (
        balancing.tw,
        balancing.uw,
        lambda x: balancing.stch(weights=x),
        lambda x: balancing.stch(reference=x),
        balancing.famo,
    ):
        actual = jax.jit(lambda numbers, make=make: run(make, numbers))(values)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
            actual,
            run(make, values),
        )
    # Shares of 1, 3 and 6: 0.1 * 4 + 0.3 * 4 + 0.6 * 16.
    np.testing.assert_allclose(run(balancing.tw, values)[0][0], 11.2, rtol=1e-6)


@pytest.mark.parametrize("values", [jnp.ones((3, 1)), jnp.ones(4), jnp.ones(())])
def test_traced_counts_of_a_wrong_shape_are_refused(values):
    def run(counts):
        step = balancing.value_and_grad(lambda p: p**2, balancing.tw(counts))
        return step(jnp.ones(3), balancing.State())

    with pytest.raises(ValueError, match="`counts` must"):
        jax.jit(run)(values)


@pytest.mark.parametrize(
    "make",
    [
        lambda: balancing.tw([-1, 1]),
        lambda: balancing.tw([]),
        lambda: balancing.tw([0, 0]),
        lambda: balancing.tw(["a"]),
        lambda: balancing.tw(5),
        lambda: balancing.tw(np.array(5)),
        lambda: balancing.tw([np.array([1.0]), np.array([2.0])]),
        lambda: balancing.tw({"a": 1}),
        lambda: balancing.cagrad("x"),
        lambda: balancing.cagrad(float("inf")),
        lambda: balancing.stch(float("inf")),
        lambda: balancing.gradvac(None),
        lambda: balancing.excess_mtl(float("inf")),
        lambda: balancing.dwa(1.5),
        lambda: balancing.upgrad(-1.0),
        lambda: balancing.gradnorm(float("nan")),
        lambda: balancing.fairgrad(float("inf")),
    ],
)
def test_options_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"^`\w+` must be .*; found "):
        make()


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        ((), "found None."),
        (({},), "found none."),
        (({"w": np.arange(3)},), "found int"),
    ],
)
def test_an_init_without_the_parameters_that_it_needs_is_refused(arguments, end):
    with pytest.raises(ValueError, match=r"^`params` must ") as error:
        balancing.excess_mtl().init(3, *arguments)
    assert end in str(error.value)


def test_a_state_can_be_donated():
    balancer = balancing.dwa(2)
    step = jax.jit(
        balancing.value_and_grad(lambda p: p**2, balancer), donate_argnums=(0, 1)
    )
    _, _, state = step(jnp.ones(3), balancer.init(3))
    assert state.memory.steps == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ew", "famo", "mgda", "graddrop"])
@pytest.mark.parametrize("with_z", [False, True], ids=["whole", "representation"])
@pytest.mark.parametrize(
    "is_checked", [slow(False), True], ids=["unchecked", "checked"]
)
def test_shard_map_on_two_devices_equals_one_device(name, with_z, is_checked):
    if with_z and name == "graddrop":
        pytest.skip("each device draws for its own rows")
    params, (x, y) = make_params(), data()
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    balancer, rng = getattr(balancing, name)(), jax.random.key(2)
    options = {"represent": represent} if with_z else {}
    function, state = losses_of_z if with_z else losses_fn, balancer.init(3)
    one = balancing.value_and_grad(function, balancer, **options)
    (value, aux), gradient, _ = one(params, state, x, y, rng=rng)
    many = balancing.value_and_grad(function, balancer, axis_name="data", **options)
    spec = jax.sharding.PartitionSpec
    mapped = jax.shard_map(
        lambda p, s, x, y: many(p, s, x, y, rng=rng),
        mesh=jax.sharding.Mesh(np.array(jax.devices()[:2]), ("data",)),
        in_specs=(spec(), spec(), spec("data"), spec("data")),
        out_specs=spec(),
        check_vma=is_checked,
    )
    (value2, aux2), gradient2, _ = jax.jit(mapped)(params, state, x, y)
    np.testing.assert_allclose(value2, value, rtol=1e-5)
    np.testing.assert_allclose(aux2.losses, aux.losses, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        gradient2,
        gradient,
    )


def test_a_representation_without_the_axis_of_the_batch_is_refused():
    step = balancing.value_and_grad(
        lambda p, z: jnp.stack([z["a"], p * z["a"]]),
        balancing.graddrop(),
        represent=lambda p: {"a": p**2},
    )
    with pytest.raises(ValueError, match=r"the batch as its first axis.*\['a'\]"):
        step(jnp.array(2.0), balancing.State(), rng=jax.random.key(0))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("present", [[1, 1, 1], [1, 0, 1]], ids=["all", "absent"])
@pytest.mark.parametrize(
    "name",
    [
        *("mgda", slow("upgrad"), slow("gradvac"), slow("config"), slow("imtl_g")),
        *("db_mtl", slow("nash_mtl"), slow("fairgrad"), slow("aligned_mtl")),
    ],
)
def test_a_step_has_derivatives(name, present):
    """Those of the combined gradient by the parameters, against differences."""
    params, (x, y) = make_params(), data()
    balancer = getattr(balancing, name)()
    given = {"present": np.array(present, bool), "rng": jax.random.key(2)}
    step = balancing.value_and_grad(losses_fn, balancer)

    @jax.jit
    def moved(size):
        at = jax.tree.map(lambda p: p + size * jnp.cos(p), params)
        _, gradient, _ = step(at, balancer.init(3), x, y, **given)
        return jnp.sum(gradient["encoder"] ** 2)

    difference = (moved(1e-5) - moved(-1e-5)) / 2e-5
    scale = max(1.0, abs(moved(0.0)))
    np.testing.assert_allclose(
        jax.grad(moved)(0.0), difference, rtol=1e-5, atol=1e-10 * scale
    )


@pytest.mark.parametrize(
    "transform", [balancing.value_and_grad, balancing.samo_value_and_grad]
)
def test_arguments_by_name_are_passed_on(transform):
    def losses_fn(params, *, scale):
        return scale * jnp.stack([params**2, (params - 1) ** 2])

    balancer, rng = balancing.ew("sum"), jax.random.key(0)
    step = transform(losses_fn, balancer)
    (_, aux), _, _ = step(jnp.array(3.0), balancing.State(), rng=rng, scale=2.0)
    np.testing.assert_array_equal(aux.losses, [18.0, 8.0])


def test_names_are_passed_on_to_both_parts_of_a_model():
    step = balancing.value_and_grad(
        lambda params, z, *, shift: jnp.stack([z + shift, z - shift]),
        balancing.mgda(),
        represent=lambda params, *, shift: params * shift,
    )
    (_, aux), _, _ = step(jnp.array(3.0), balancing.State(), shift=2.0)
    np.testing.assert_array_equal(aux.losses, [8.0, 4.0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16])
def test_counts_in_narrow_types_are_summed_in_wide_ones(dtype):
    counts = (
        np.array([250, 50], dtype)
        if dtype == np.uint8
        else np.array([30000] * 2, dtype)
    )
    step = balancing.value_and_grad(lambda p: jnp.stack([p, p]), balancing.tw(counts))
    (_, aux), _, _ = step(jnp.array(1.0), balancing.State())
    expected = counts / counts.sum(dtype=np.float64)
    np.testing.assert_allclose(aux.weights, expected, rtol=1e-6)


def test_other_objects_than_balancers_are_refused_before_a_step():
    def losses_fn(params):
        return jnp.stack([params**2, (params - 1) ** 2])

    for wrong in (balancing.cagrad, "cagrad", losses_fn):
        for make in (balancing.value_and_grad, balancing.samo_value_and_grad):
            with pytest.raises(TypeError, match="`balancer`"):
                make(losses_fn, wrong)


@pytest.mark.parametrize(
    ("reads", "result", "error"),
    [
        (balancing.Reads.LOSSES, lambda inputs: inputs.losses.sum(), TypeError),
        (
            balancing.Reads.LOSSES,
            lambda inputs: balancing.Combined(inputs.losses),
            ValueError,
        ),
        (
            balancing.Reads.GRAMIAN,
            lambda inputs: balancing.Combined(jnp.ones(3)),
            ValueError,
        ),
        (
            balancing.Reads.GRAMIAN,
            lambda inputs: balancing.Combined(jnp.ones(())),
            ValueError,
        ),
        (
            balancing.Reads.LOSSES,
            lambda inputs: balancing.Combined(inputs.losses.sum(), jnp.ones(2)),
            ValueError,
        ),
    ],
)
def test_a_rule_that_returns_something_else_is_an_error_that_says_so(
    reads, result, error
):
    rule = balancing.Balancer(
        lambda count: balancing.State(), lambda inputs, state: result(inputs), reads
    )

    def losses_fn(params):
        return jnp.stack([params**2, (params - 1) ** 2])

    step = jax.jit(balancing.value_and_grad(losses_fn, rule))
    with pytest.raises(error, match="`combine` must return"):
        step(jnp.array(2.0), rule.init(2))


def test_a_memory_of_another_structure_is_named():
    rule = balancing.Balancer(
        lambda count: balancing.State(memory=(jnp.zeros(count),)),
        lambda inputs, state: balancing.Combined(inputs.losses.sum(), [*state.memory]),
    )
    step = balancing.value_and_grad(lambda p: jnp.stack([p**2, p]), rule)
    with pytest.raises(ValueError, match=r"PyTreeDef\(\(\*,\)\); found .*\[\*\]"):
        step(jnp.array(2.0), rule.init(2))


def test_a_forgotten_memory_is_named():
    rule = balancing.Balancer(
        lambda count: balancing.State(memory=jnp.zeros(count)),
        lambda inputs, state: balancing.Combined(inputs.losses.sum()),
    )
    step = balancing.value_and_grad(lambda p: jnp.stack([p**2, p]), rule)
    with pytest.raises(ValueError, match=r"shapes \(2,\); found no arrays"):
        step(jnp.array(2.0), rule.init(2))


@pytest.mark.parametrize("scale", ["min", "rmse"])
def test_absent_tasks_have_no_weight(scale):
    """Exactly: the eigenvectors of their zeros are rounded."""
    balancer = balancing.aligned_mtl(scale)
    present = jnp.array([True, False, True])
    step = jax.jit(balancing.value_and_grad(lambda x, rows: rows @ x, balancer))
    for seed in range(20):
        rows = np.random.default_rng(seed).normal(size=(3, 6)).astype(np.float32)
        (_, aux), _, _ = step(jnp.ones(6), balancer.init(3), rows, present=present)
        assert aux.weights[1] == 0
        assert (aux.weights[::2] != 0).all()
