"""The version of the package; `pyproject.toml` reads it from this file."""

VERSION = "0.1.0"
