"""Devices, programs over them, and copies on the host."""

import importlib.util
import os
import threading
from concurrent import futures
from types import SimpleNamespace
from typing import NamedTuple

import compilations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import assert_mentions

from mtra_jax.errors import InputError
from mtra_jax.runs.processes import group, joining
from mtra_jax.train.devices import (
    AXIS,
    Program,
    choose_devices,
    compiling,
    local_device,
    local_places,
    replicate,
    start_devices,
    to_host,
)


class Pair(NamedTuple):
    first: jax.Array
    second: dict


def test_the_first_devices_are_chosen():
    assert choose_devices(0) == jax.devices()
    assert choose_devices(1) == jax.devices()[:1]
    assert choose_devices(3) == jax.devices()[:3]
    assert choose_devices(8) == jax.devices()


def test_the_device_of_one_process_is_its_own(monkeypatch):
    """The first device of all is that of process 0."""
    assert local_device() == jax.devices()[:1]
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[4:])
    assert local_device() == [jax.devices()[4]]


@pytest.mark.parametrize("count", [-1, 9, 1000])
def test_an_impossible_number_of_devices_is_refused(count):
    with pytest.raises(InputError) as error:
        choose_devices(count)
    assert str(error.value) == (
        f"devices is {count}; expected 1 to 8, or 0 for all of them"
    )


def test_every_process_of_a_run_has_a_device(monkeypatch):
    """Two hosts with four devices each: four would be those of the first."""
    devices = [SimpleNamespace(process_index=place // 4) for place in range(8)]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert choose_devices(0) == choose_devices(8) == devices
    assert choose_devices(5) == devices[:5]
    with pytest.raises(InputError) as error:
        choose_devices(4)
    assert_mentions(
        str(error.value), "devices is 4", "2 processes", "5 or more", "all 8"
    )


@pytest.mark.parametrize(
    ("coordinator", "variable", "expected"),
    [
        ("127.0.0.1:1234", None, "127.0.0.1:1234"),
        ("localhost:1234", None, "localhost:1234"),
        ("[::1]:1234", None, "[::1]:1234"),
        ("10.0.0.7:1234", None, "10.0.0.7:1234"),
        # JAX's default applies: all interfaces, or the variable's address.
        ("10.0.0.7:1234", "0.0.0.0:1234", None),
        ("node7:1234", None, None),
        (None, None, None),
    ],
)
def test_process_0_listens_at_the_address_of_the_coordinator(
    monkeypatch, coordinator, variable, expected
):
    asked = {}
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda *_, **options: asked.update(options)
    )
    monkeypatch.setattr(joining, "check_network", lambda *_: None)
    monkeypatch.delenv(joining.BIND_ADDRESS, raising=False)
    if variable is not None:
        monkeypatch.setenv(joining.BIND_ADDRESS, variable)
    group.initialise(coordinator, 2, 0)
    assert asked["coordinator_bind_address"] == expected


class Device(NamedTuple):
    process_index: int


def test_places_of_this_process():
    assert local_places(jax.devices()[:3]) == (0, 1, 2)
    others = [Device(1), Device(0), Device(2), Device(0)]
    assert local_places(others) == (1, 3)
    assert group.is_writer()


def add_shards(state, shard):
    total = jax.lax.psum(jnp.sum(shard), AXIS)
    return Pair(state.first + total, {"inner": 2 * state.second["inner"]})


def make_state():
    return Pair(np.arange(3, dtype=np.float32), {"inner": np.ones((2, 2), np.float32)})


@pytest.mark.parametrize("num_devices", [1, 4])
def test_state_has_no_device_axis_before_and_after_a_step(num_devices):
    devices = choose_devices(num_devices)
    program = Program(add_shards, devices, donate_first=True)
    shards = np.arange(8, dtype=np.float32).reshape(num_devices, -1)
    state = make_state()
    for step in range(1, 3):
        state = program(state, shards)
        np.testing.assert_array_equal(state.first, np.arange(3) + 28 * step)
        np.testing.assert_array_equal(state.second["inner"], np.full((2, 2), 2**step))
    assert len(state.first.devices()) == num_devices


@pytest.mark.parametrize("donate", [True, False])
def test_only_a_donated_state_is_deleted(donate):
    program = Program(add_shards, jax.devices()[:2], donate_first=donate)
    shards = np.ones((2, 1), np.float32)
    state = program(make_state(), shards)
    program(state, shards)
    deleted = [leaf.is_deleted() for leaf in jax.tree.leaves(state)]
    assert deleted == [donate, donate]


def test_a_host_copy_outlives_its_arrays():
    """The next step would overwrite a view, because it reuses the state's memory."""
    program = Program(add_shards, jax.devices()[:4], donate_first=True)
    shards = np.ones((4, 1), np.float32)
    state = program(make_state(), shards)
    copy = to_host(state)
    assert jax.tree.structure(copy) == jax.tree.structure(state)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(copy))
    for _ in range(3):
        state = program(state, shards)
    np.testing.assert_array_equal(copy.first, [4, 5, 6])
    np.testing.assert_array_equal(copy.second["inner"], np.full((2, 2), 2))
    copy.first[:] = -1
    copy.second["inner"][:] = -1
    np.testing.assert_array_equal(state.first, [16, 17, 18])
    np.testing.assert_array_equal(state.second["inner"], np.full((2, 2), 16))


def test_host_arrays_and_numbers_are_copied_too():
    array = np.arange(3)
    on_device = jnp.arange(2, dtype=jnp.int32)
    copy = to_host({"array": array, "device": on_device, "number": 2.5})
    copy["array"][0] = 7
    copy["device"][0] = 7
    np.testing.assert_array_equal(array, [0, 1, 2])
    np.testing.assert_array_equal(on_device, [0, 1])
    assert copy["device"].dtype == np.int32
    assert copy["number"] == np.array(2.5)


# ---- settings and programs compiled ahead


def scaled(of_sum):
    """A program that adds the sum of the shards times `of_sum`."""

    def add(state, shard, factors):
        total = jax.lax.psum(jnp.sum(shard), AXIS)
        return Pair(state.first + factors["of_sum"] * total, state.second)

    settings = ({"of_sum": np.float32(of_sum)},)
    return Program(add, jax.devices()[:2], donate_first=True, settings=settings)


SHARDS = {n: np.arange(2 * n, dtype=np.float32).reshape(2, n) for n in (1, 2, 3)}


@pytest.fixture
def compiled():
    """A list that gets the seconds of each compilation during the test."""
    with compilations.counted() as seconds:
        yield seconds


def test_settings_are_arguments_that_outlive_donation():
    twice, thrice = scaled(2), scaled(3)
    state = other = make_state()
    for step in range(1, 4):
        state, other = twice(state, SHARDS[2]), thrice(other, SHARDS[2])
        np.testing.assert_array_equal(state.first, np.arange(3) + 12 * step)
        np.testing.assert_array_equal(other.first, np.arange(3) + 18 * step)
    texts = [p.lowered(make_state(), SHARDS[2]).as_text() for p in (twice, thrice)]
    assert texts[0] == texts[1]


def test_programs_compiled_ahead_are_compiled_once(compiled):
    program, state = scaled(2), make_state()
    # On the devices already, so that no program has to place it.
    state = replicate(state, jax.devices()[:2])
    compiled.clear()
    with compiling() as pool:
        futures.wait(program.compile_ahead(pool, state, list(SHARDS.values())))
    assert len(compiled) == 3
    for shards in SHARDS.values():
        state = program(state, shards)
    assert len(compiled) == 3
    expected = np.arange(3) + 2 * sum(shards.sum() for shards in SHARDS.values())
    np.testing.assert_array_equal(state.first, expected)


def test_a_call_does_not_wait_for_programs_of_other_shapes():
    program, gate = scaled(2), threading.Event()
    with compiling() as pool:
        for _ in range(pool._max_workers):
            pool.submit(gate.wait)
        program.compile_ahead(pool, make_state(), list(SHARDS.values()))
        state = program(make_state(), SHARDS[3])  # no thread is free for it
        np.testing.assert_array_equal(state.first, np.arange(3) + 30)
        gate.set()


def test_a_call_waits_for_its_program_that_is_being_compiled(compiled):
    devices, entered, gate = jax.devices()[:1], threading.Event(), threading.Event()

    def slow(state, shard):
        entered.set()
        gate.wait()
        return state + jnp.sum(shard)

    program = Program(slow, devices, donate_first=False)
    state = replicate(np.float32(1), devices)
    compiled.clear()
    with compiling() as pool:
        program.compile_ahead(pool, state, [np.ones((1, 2), np.float32)])
        assert entered.wait(60)
        opening = threading.Timer(0.2, gate.set)
        opening.start()
        result = program(state, np.ones((1, 2), np.float32))
        opening.join()
    assert float(result) == 3
    assert len(compiled) == 1


def test_an_error_in_compiling_ahead_is_raised_by_the_call():
    def picky(state, shard):
        if shard.shape[-1] == 2:
            raise ValueError("two are too many")
        return state + jnp.sum(shard)

    program = Program(picky, jax.devices()[:1], donate_first=False)
    shards = {n: np.ones((1, n), np.float32) for n in (1, 2)}
    with compiling() as pool:
        program.compile_ahead(pool, np.float32(0), list(shards.values()))
        assert program(np.float32(0), shards[1]) == 1
        with pytest.raises(ValueError, match="two are too many"):
            program(np.float32(0), shards[2])


def test_a_cancelled_compilation_is_done_by_the_call():
    program, gate = scaled(2), threading.Event()
    with compiling() as pool:
        for _ in range(pool._max_workers):
            pool.submit(gate.wait)
        program.compile_ahead(pool, make_state(), list(SHARDS.values()))
        gate.set()
    for shards in SHARDS.values():
        state = program(make_state(), shards)
        np.testing.assert_array_equal(state.first, np.arange(3) + 2 * shards.sum())


@pytest.mark.parametrize(
    ("plugins", "before", "after"),
    [
        ((), "", ""),
        (("jax_cuda12_plugin",), "", "--xla_gpu_enable_triton_gemm=false"),
        (("jax_cuda13_plugin",), "--a=1", "--a=1 --xla_gpu_enable_triton_gemm=false"),
        (
            ("jax_cuda13_plugin",),
            "--xla_gpu_enable_triton_gemm=true",
            "--xla_gpu_enable_triton_gemm=true",
        ),
    ],
)
def test_the_flag_for_triton_is_set_on_gpus_unless_the_user_sets_it(
    plugins, before, after, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", plugins.__contains__)
    monkeypatch.setenv("XLA_FLAGS", before)
    start_devices.__wrapped__()  # once a process, otherwise
    assert os.environ["XLA_FLAGS"] == after
