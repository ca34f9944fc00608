"""A module's name and options -> its figures as JSON lines on standard output.

Started by `supervisor.py`. What libraries print goes to standard error, the log.
"""

import importlib
import json
import os
import sys
from typing import Any


def main(module: str, options: str) -> None:
    figures = os.dup(1)
    os.dup2(2, 1)
    values = json.loads(options)
    if values["small"]:  # to try the instrument: compile quickly rather than well
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=0"

    def emit(figure: str, text: str, **values: Any) -> None:
        """Hands over a figure at once; `context` holds options of later measurements."""
        line = json.dumps({"figure": figure, "text": text, **values})
        os.write(figures, line.encode() + b"\n")

    importlib.import_module(module).measure(values, emit)


if __name__ == "__main__":
    main(*sys.argv[1:])
