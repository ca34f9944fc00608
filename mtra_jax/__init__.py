"""Multi-Task Representation Alignment (MTRA) for BERT and RoBERTa encoders, in JAX.

```python
import mtra_jax

mtra_jax.train(tasks="my/tasks.toml", backbone="FacebookAI/roberta-base", workdir="runs/mine")
model = mtra_jax.load("runs/mine")                # a run, or an exported model
model.predict(["great stay"], task="reviews")     # a list of `Prediction`
model.encode(["great stay"])                      # z [N, H]
model.evaluate("my/tasks.toml")
mtra_jax.export("runs/mine", "models/mine")
```
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtra_jax import balancing, objectives
    from mtra_jax.api.exporting import export
    from mtra_jax.api.loading import load
    from mtra_jax.api.model import Model, Prediction
    from mtra_jax.api.own_methods import add_method
    from mtra_jax.api.training import train
    from mtra_jax.errors import InputError, RunError
    from mtra_jax.tasks import Task

__all__ = [
    "InputError",
    "Model",
    "Prediction",
    "RunError",
    "Task",
    "add_method",
    "balancing",
    "export",
    "load",
    "objectives",
    "train",
]

# Name -> its module, imported at the first use: JAX takes seconds.
_PLACES = {
    "InputError": "errors",
    "Model": "api.model",
    "Prediction": "api.model",
    "RunError": "errors",
    "Task": "tasks",
    "add_method": "api.own_methods",
    "export": "api.exporting",
    "load": "api.loading",
    "train": "api.training",
}


def __getattr__(name: str) -> Any:
    if name in ("balancing", "objectives"):
        return importlib.import_module(f"mtra_jax.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'mtra_jax' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"mtra_jax.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
