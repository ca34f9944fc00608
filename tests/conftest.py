"""Eight virtual CPU devices for every test, and the places of the real data and weights."""

import os
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
