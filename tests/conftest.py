"""Eight virtual CPU devices for every test, and the places of the real data and weights."""

import os
import sys
from importlib import metadata
from pathlib import Path

# Before jax is imported anywhere: the number of devices is fixed at its first use. These
# tests compile much and compute little; the scripts run with XLA's own settings.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)
# A third of the compiling. XLA ends the process at a flag that it does not know.
os.environ["XLA_FLAGS"] += (
    " --xla_cpu_use_fusion_emitters=false"
    if metadata.version("jaxlib").startswith("0.10.")
    else ""
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
# Every other test is in the fast tier.
SLOW_TIERS = ("processes", "hostile", "slow", "nightly", "benchmark")


def pytest_configure(config):
    """Selects the fast tier, unless `-m` or a file or a test is named."""
    paths = [argument.partition("::")[0] for argument in config.args]
    if not config.option.markexpr and not all(map(os.path.isfile, paths)):
        config.option.markexpr = " and ".join(f"not {tier}" for tier in SLOW_TIERS)


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
