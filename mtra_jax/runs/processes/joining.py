"""Arguments of a process -> the process joins its run, or one line names who is missing.

JAX's runtime waits in silence and then aborts the process. Here it waits in a thread, so
that the wait can be reported, interrupted and ended in time.
"""

import ipaddress
import os
import re
import socket
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from mtra_jax import failures
from mtra_jax.errors import InputError, RunError, shown

TIMEOUT_SECONDS = 300
"""How long a process waits for the others."""
NOTICE_SECONDS = 10
"""After this time the wait is reported."""
NAME_SECONDS = 30
"""How long a host name may have no address: clusters publish names as hosts start."""
ADDRESS = "JAX_COORDINATOR_ADDRESS"
BIND_ADDRESS = "JAX_COORDINATOR_BIND_ADDRESS"
"""JAX's variable for the address, HOST:PORT, that process 0 listens on."""
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
NO_PROXIES = ("no_grpc_proxy", "no_proxy")
"""Variables of exempt hosts; gRPC reads the first that is set."""
_ADDRESS = re.compile(r"(?:\[([^][\s]+)\]|([^][\s:/]+)):([0-9]{1,5})")
EXPECTED = "expected HOST:PORT of process 0, with a port from 1 to 65535"


class Address(NamedTuple):
    """The address of process 0, and the one it listens on; JAX chooses them if None."""

    coordinator: str | None
    bind: str | None


def check(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> Address:
    """Checks the arguments of one process of a run.

    Raises:
      InputError: an argument is wrong.
    """
    coordinator = coordinator or os.environ.get(ADDRESS)
    if num_processes is not None and num_processes < 1:
        raise InputError(f"--num_processes is {num_processes}; expected at least 1")
    last = "" if num_processes is None else f" and at most {num_processes - 1}"
    if process_id is not None and not 0 <= process_id < (num_processes or 1 << 31):
        raise InputError(f"--process_id is {process_id}; expected at least 0{last}")
    if coordinator is None:
        return Address(None, None)
    split_address(coordinator)
    return Address(coordinator, _bind_address(coordinator))


def check_network(address: Address, process_id: int | None, timeout: float) -> None:
    """Checks for faults of the network at which JAX's runtime would abort.

    Raises:
      InputError: the host has had no address for `timeout` seconds (at most
        `NAME_SECONDS`), or process 0 cannot listen.
    """
    if address.coordinator is None:
        return
    host, _ = split_address(address.coordinator)
    _check_name(host, min(NAME_SECONDS, timeout))
    pass_proxies(host)
    if process_id == 0:
        own = address.bind or os.environ.get(BIND_ADDRESS)
        name = "--coordinator" if address.bind or not own else BIND_ADDRESS
        _check_port(own or address.coordinator, name, is_all=own is None)


def pass_proxies(host: str) -> None:
    """Exempts connections to `host` from the proxies that the environment names.

    gRPC would send the processes' traffic to the proxy and wait for it in silence. The
    variable set here is read by gRPC alone: downloads keep their proxy.
    """
    if not any(os.environ.get(name) for name in PROXIES):
        return
    exempt = next((os.environ[n] for n in NO_PROXIES if os.environ.get(n)), "")
    os.environ[NO_PROXIES[0]] = ",".join(filter(None, (exempt, host)))


def is_loopback(host: str) -> bool:
    """Whether all addresses of `host` are loopback; False if it has no address."""
    try:
        places = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(place[4][0]).is_loopback for place in places)


def wait_for(
    join: Callable[[], Any],
    missing: Callable[[], str],
    timeout: float,
    notice: float = NOTICE_SECONDS,
) -> None:
    """Calls `join` in a thread, and warns after `notice` seconds about `missing()`.

    Raises:
      InputError: `join` raised an exception.
      RunError: it did not return within `timeout` seconds; the thread is left behind.
    """
    errors: list[Exception] = []

    def run() -> None:
        try:
            join()
        except Exception as error:  # of any type: JAX asks several cluster managers
            errors.append(error)

    thread = threading.Thread(target=run, name="joining", daemon=True)
    thread.start()
    thread.join(min(notice, timeout))
    if thread.is_alive() and notice < timeout:
        warnings.warn(
            f"waiting for {missing()}, until {timeout} s have passed", stacklevel=2
        )
        thread.join(timeout - notice)
    if thread.is_alive():
        raise RunError(
            f"--distributed: waited {timeout} s for {missing()}; expected every process "
            "to start within that time; see --initialization_timeout"
        )
    for error in errors:
        raise InputError(
            f"--distributed: {failures.first_line(error)}; expected --coordinator, "
            "--num_processes and --process_id, or a cluster that JAX supports"
        ) from error


def split_address(address: str, name: str = "--coordinator") -> tuple[str, int]:
    """Host and port of HOST:PORT, or [IPv6]:PORT.

    Raises:
      InputError: `address` has another form; the message begins with `name`, the flag or
        variable that holds it.

    >>> split_address("[::1]:1234")
    ('::1', 1234)
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[3]) < 1 << 16:
        raise InputError(f"{name} is {shown(address)}; {EXPECTED}")
    return match[1] or match[2], int(match[3])


def _bind_address(coordinator: str) -> str | None:
    """The address that process 0 listens on; None for every interface of its machine.

    Host names are not used: many machines resolve their own name to the loopback.
    """
    if BIND_ADDRESS in os.environ:
        return None
    host, _ = split_address(coordinator)
    if host == "localhost":
        return coordinator
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return coordinator


def _check_name(host: str, seconds: float) -> None:
    """Raises InputError if `host` has no address within `seconds`."""
    fault, deadline = _name_fault(host), time.monotonic() + seconds
    if fault is not None:
        warnings.warn(f"{host}: {fault}; trying for {seconds:.0f} s", stacklevel=3)
    while fault is not None:
        if time.monotonic() > deadline:
            raise InputError(f"--coordinator {host}: {fault}; {EXPECTED}")
        time.sleep(1)
        fault = _name_fault(host)


def _name_fault(host: str) -> str | None:
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _check_port(address: str, name: str, *, is_all: bool) -> None:
    """Raises InputError if this process cannot listen; the runtime would crash."""
    host, port = split_address(address, name)
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            None if is_all else host,
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise InputError(
            f"{name} {address}: process 0 cannot listen there: {error.strerror}; "
            "expected a free port of this machine"
        ) from None


def missing(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> str:
    """Names the processes that this one waits for, as far as it can find out."""
    if coordinator is None or process_id is None:
        return "the other processes"
    if process_id == 0:
        last = (num_processes or 2) - 1
        others = "process 1" if last == 1 else f"processes 1 to {last}"
        return f"{others} to join at {coordinator}"
    place = split_address(coordinator)
    try:
        socket.create_connection(place, timeout=2).close()
    except OSError as error:
        fault = error.strerror or str(error)
        if is_loopback(place[0]):
            fault += f"; every host has its own {place[0]}"
        return f"process 0 at {coordinator} ({fault})"
    return f"other processes than 0, which answers at {coordinator}"
