"""Parameters and arrays -> arrays: the interface of the networks that methods use."""

from typing import Any, Protocol


class Network(Protocol):
    """The part of `flax.linen.Module` that methods use.

    Flax types the result of `apply` for all its uses at once. Here no call has mutable
    collections, so the result is the module's output alone.
    """

    def init(self, rngs: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Returns `{"params": ...}`, new parameters for arguments of these shapes."""
        ...

    def apply(self, variables: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Returns the output for `variables`, `{"params": ...}`."""
        ...
