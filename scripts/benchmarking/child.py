"""A module's name and options -> its figures as JSON lines on standard output.

Started by `supervisor.py`. Output of libraries goes to standard error, the log.
"""

import importlib
import json
import os
import sys
from importlib import metadata
from typing import Any


def main(module: str, options: str) -> None:
    figures = os.dup(1)
    os.dup2(2, 1)
    values = json.loads(options)
    if values["small"]:
        compile_quickly()

    def emit(figure: str, text: str, **values: Any) -> None:
        """Writes a figure at once; `context` holds options of later measurements."""
        line = json.dumps({"figure": figure, "text": text, **values})
        os.write(figures, line.encode() + b"\n")

    importlib.import_module(module).measure(values, emit)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # shutting down libraries would take seconds


def compile_quickly() -> None:
    """Makes XLA compile quickly, at the cost of slow programs; call before it is loaded."""
    flags = [os.environ.get("XLA_FLAGS", ""), "--xla_backend_optimization_level=0"]
    # XLA aborts at an unknown flag.
    if metadata.version("jaxlib").startswith("0.10."):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join(flags)


if __name__ == "__main__":
    main(*sys.argv[1:])
