"""Puts the modules of `scripts/benchmarking` within reach, as they find each other."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts" / "benchmarking"))
