"""Eight virtual CPU devices for every test, and the places of the real data and weights."""

import gc
import os
import sys
from pathlib import Path

import xla_flags

# Before jax is imported anywhere: the number of devices is fixed at its first use.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {xla_flags.quick(8)}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

import jax
import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
MOST_MAPS = 20_000
# Every other test is in the fast tier.
SLOW_TIERS = ("processes", "hostile", "slow", "nightly", "benchmark")


def pytest_configure(config):
    """Selects the fast tier, unless `-m` or a file or a test is named."""
    # A third of the time of collecting the tests; modules and tests stay to the end.
    gc.disable()
    paths = [argument.partition("::")[0] for argument in config.args]
    if not config.option.markexpr and not all(map(os.path.isfile, paths)):
        config.option.markexpr = " and ".join(f"not {tier}" for tier in SLOW_TIERS)


def pytest_collection_finish():
    """Garbage is collected again, but not among the modules and tests."""
    gc.freeze()
    gc.enable()


def _is_fast(item):
    return not any(map(item.get_closest_marker, (*SLOW_TIERS, "end_to_end")))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Notes whether the test, or a fixture that it asks for, may start Python."""
    _guard.is_on = _is_fast(item)


def _guard(event, arguments):
    if event == "subprocess.Popen" and _guard.is_on and arguments[0] == sys.executable:
        raise AssertionError(
            "the fast tier starts no Python; mark the test `processes`"
        )


_guard.is_on = False
sys.addaudithook(_guard)


@pytest.fixture(scope="module", autouse=True)
def _few_memory_maps():
    """Drops compiled programs before the process has as many maps as Linux allows.

    Each program on a CPU takes some, up to a thousand; beyond 65,530 XLA aborts.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The root of the real TweetEval and AffectEval files."""
    if not (SHARED / "data").is_dir():
        pytest.skip("no real data: ../shared/data is absent")
    return SHARED / "data"


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The directory of a real pretrained BERT encoder."""
    if not (SHARED / "models" / "minilm-l6").is_dir():
        pytest.skip("no pretrained weights: ../shared/models/minilm-l6 is absent")
    return SHARED / "models" / "minilm-l6"
