"""Arguments of the processes of a run, and missing processes."""

import socket
import threading

import jax
import pytest
from messages import assert_mentions

from mtra_jax import cli
from mtra_jax.errors import InputError, RunError
from mtra_jax.runs.processes import flags, group, joining
from mtra_jax.train.devices import _ADVICE, choose_devices, start_devices


@pytest.fixture(autouse=True)
def without_variables(monkeypatch):
    for name in (joining.ADDRESS, joining.BIND_ADDRESS):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("host:1234", ("host", 1234)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
        ("[::1]:1", ("::1", 1)),
    ],
)
def test_an_address_is_a_host_and_a_port(address, expected):
    assert joining.split_address(address) == expected


@pytest.mark.parametrize(
    "address",
    [
        *("localhost", "localhost:", ":1234", "host:port", "host:0", "host:65536"),
        *(
            "host:-1",
            "host:1_0",
            "::1:1234",
            "[::1]",
            "http://host:1",
            "host:1:2",
            " :1",
        ),
        *("host:99999999999", "host:\u0661", "host :1"),
    ],
)
def test_invalid_addresses_are_refused(address):
    with pytest.raises(InputError) as error:
        joining.check(address, 2, 0)
    assert_mentions(error.value, "--coordinator", repr(address), "HOST:PORT", 1, 65535)


def read_flags(*arguments):
    parser = cli.Parser()
    flags.add(parser)
    return flags.read(parser.parse_args(arguments))


def test_flags_are_the_arguments_of_a_process():
    assert read_flags() is None
    assert read_flags("--distributed") == (None, None, None, 300, None)
    assert read_flags(
        "--distributed",
        "--coordinator=host:1",
        "--num_processes=2",
        "--process_id=1",
        "--local_device_ids=0,12",
        "--initialization_timeout=7",
    ) == ("host:1", 2, 1, 7, [0, 12])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--process_id=0"], "--process_id: expected with --distributed only"),
        (["--local_device_ids="], "--local_device_ids: expected with --distributed"),
        (["--distributed", "--initialization_timeout=0"], "is 0; expected at least 1"),
        (["--distributed", "--local_device_ids=0,"], "is 0,; expected numbers, as 0"),
        (["--distributed", "--local_device_ids=-1"], "is -1; expected numbers"),
    ],
)
def test_wrong_flags_of_a_process_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        read_flags(*arguments)


@pytest.mark.parametrize(
    ("num_processes", "process_id", "message"),
    [
        (0, 0, "--num_processes is 0; expected at least 1"),
        (-1, None, "--num_processes is -1; expected at least 1"),
        (2, 2, "--process_id is 2; expected at least 0 and at most 1"),
        (2, -1, "--process_id is -1; expected at least 0 and at most 1"),
        (None, -1, "--process_id is -1; expected at least 0"),
    ],
)
def test_process_numbers_out_of_range_are_refused(num_processes, process_id, message):
    with pytest.raises(InputError) as error:
        joining.check("host:1234", num_processes, process_id)
    assert str(error.value) == message


def test_the_address_may_come_from_jaxs_variable(monkeypatch):
    monkeypatch.setenv(joining.ADDRESS, "127.0.0.1:1234")
    assert joining.check(None, 2, 0) == ("127.0.0.1:1234", "127.0.0.1:1234")
    monkeypatch.setenv(joining.ADDRESS, "127.0.0.1")
    with pytest.raises(InputError, match=r"is '127.0.0.1'; expected HOST:PORT"):
        joining.check(None, 2, 0)


@pytest.fixture
def taken():
    """A port of this machine on which another program listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_used_port_is_refused_by_process_0_only(taken):
    """The runtime would end with a segmentation fault."""
    address = joining.check(f"127.0.0.1:{taken}", 2, 0)
    with pytest.raises(InputError) as error:
        joining.check_network(address, 0, 1)
    assert_mentions(
        error.value, "--coordinator", f"127.0.0.1:{taken}", "already in use"
    )
    joining.check_network(address, 1, 1)


def test_an_address_of_another_machine_is_refused_by_process_0():
    address = joining.check("192.0.2.1:1234", 2, 0)  # reserved for documentation
    with pytest.raises(
        InputError, match="cannot listen there: Cannot assign requested"
    ):
        joining.check_network(address, 0, 1)


def test_the_variable_for_the_address_to_listen_on_is_used(monkeypatch, taken):
    address = joining.check("192.0.2.1:1234", 2, 0)
    monkeypatch.setenv(joining.BIND_ADDRESS, f"127.0.0.1:{taken}")
    address = joining.check("192.0.2.1:1234", 2, 0)
    with pytest.raises(InputError, match=f"^{joining.BIND_ADDRESS} .* already in use"):
        joining.check_network(address, 0, 1)
    monkeypatch.setenv(joining.BIND_ADDRESS, "127.0.0.1:0x1")
    with pytest.raises(InputError, match=f"^{joining.BIND_ADDRESS} is '127.0.0.1:0x1'"):
        joining.check_network(address, 0, 1)


def test_a_host_without_an_address_is_refused_after_some_tries():
    address = joining.check("nosuch.invalid:1234", 2, 1)
    with (
        pytest.warns(UserWarning, match=r"^nosuch.invalid: .+; trying for 0 s$"),
        pytest.raises(InputError, match=r"^--coordinator nosuch.invalid: .*HOST:PORT"),
    ):
        joining.check_network(address, 1, 0)


# ---- waiting


def test_joining_in_time_gives_no_warning(recwarn):
    calls = []
    joining.wait_for(lambda: calls.append(1), lambda: "nobody", 60)
    assert (calls, len(recwarn)) == ([1], 0)


def test_missing_processes_are_named_in_a_warning_and_in_the_error():
    never = threading.Event()
    with (
        pytest.warns(UserWarning, match=r"^waiting for process 7, until 0\.2 s have"),
        pytest.raises(RunError) as error,
    ):
        joining.wait_for(never.wait, lambda: "process 7", 0.2, notice=0.1)
    assert_mentions(
        error.value, "--distributed", "0.2 s", "process 7", "--initialization_timeout"
    )
    never.set()


def test_a_late_process_is_waited_for():
    late = threading.Event()

    def missing():
        late.set()  # it arrives during this call
        return "process 7"

    with pytest.warns(UserWarning, match="^waiting for process 7"):
        joining.wait_for(late.wait, missing, 60, notice=0.01)


@pytest.mark.parametrize(
    "error", [ValueError("no\nway"), KeyError("no"), RuntimeError("no")]
)
def test_missing_arguments_of_jax_are_reported_in_one_line(error):
    def join():
        raise error

    with pytest.raises(InputError) as caught:
        joining.wait_for(join, lambda: "", 60)
    first = str(error).splitlines()[0]
    flags = ("--coordinator", "--num_processes", "--process_id")
    assert_mentions(caught.value, "--distributed", first, *flags)


def test_the_warning_names_the_processes_that_are_waited_for(taken):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and does not listen
        closed = f"127.0.0.1:{free.getsockname()[1]}"
        assert joining.missing(closed, 2, 1) == (
            f"process 0 at {closed} (Connection refused; every host has its own 127.0.0.1)"
        )
    answers = f"127.0.0.1:{taken}"
    assert joining.missing(answers, 3, 1) == (
        f"other processes than 0, which answers at {answers}"
    )
    assert joining.missing("a:1", 2, 0) == "process 1 to join at a:1"
    assert joining.missing("a:1", 4, 0) == "processes 1 to 3 to join at a:1"
    assert joining.missing(None, None, None) == "the other processes"


def test_the_runtime_waits_longer_than_this_process(monkeypatch):
    """JAX aborts the process at the end of its wait."""
    asked = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **o: asked.update(o))
    monkeypatch.setattr(joining, "check_network", lambda *_: None)
    group.initialise("localhost:1234", 2, 1, timeout=77)
    assert asked["initialization_timeout"] > 77


# ---- devices


@pytest.fixture
def unstarted():
    start_devices.cache_clear()
    yield
    start_devices.cache_clear()


@pytest.mark.usefixtures("unstarted")
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AssertionError(), "no plugin for it"),
        (RuntimeError(f"Unknown backend{_ADVICE}"), "Unknown backend"),
        (ValueError("first\nsecond"), "first"),
    ],
)
def test_missing_devices_are_reported_in_one_line(monkeypatch, error, reason):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    for use in (start_devices, group.is_writer, lambda: choose_devices(0)):
        with pytest.raises(InputError) as caught:
            use()
        assert_mentions(caught.value, "JAX_PLATFORMS=tpu", reason, "JAX_PLATFORMS")
    monkeypatch.delenv("JAX_PLATFORMS")
    with pytest.raises(RunError, match=f"^no device can be used: {reason}$"):
        start_devices()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"no_proxy": "a"}, None),
        ({"http_proxy": "http://p:1"}, "node7"),
        ({"https_proxy": "http://p:1", "no_proxy": "a,b"}, "a,b,node7"),
        ({"grpc_proxy": "p:1", "no_proxy": "a", "no_grpc_proxy": "c"}, "c,node7"),
    ],
)
def test_the_coordinator_is_exempt_from_proxies(monkeypatch, variables, expected):
    for name in (*joining.PROXIES, *joining.NO_PROXIES):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(joining.os, "environ", dict(joining.os.environ))
    joining.pass_proxies("node7")
    exempt = joining.os.environ.get("no_grpc_proxy")
    assert exempt == (expected or variables.get("no_grpc_proxy"))


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("10.1.2.3", False)],
)
def test_names_of_this_host_alone(host, expected):
    assert joining.is_loopback(host) == expected
