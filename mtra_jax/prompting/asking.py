"""A model, prompts and stored replies -> the reply to each prompt; new ones are stored."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from mtra_jax.prompting import stored_replies
from mtra_jax.prompting.answers import Reply
from mtra_jax.prompting.prompts import Prompt
from mtra_jax.prompting.stored_replies import Store


class Model(Protocol):
    """A language model that continues prompts greedily."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings on which its replies depend besides the prompt, as JSON."""

    def replies(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Reply]]:
        """Yields each prompt's index and reply, in any order, as soon as it has one."""


def missing(model: Model, store: Store, prompts: Iterable[Prompt]) -> list[Prompt]:
    """The different prompts without a stored reply, in order."""
    return [
        prompt
        for prompt in dict.fromkeys(prompts)
        if store.get(stored_replies.key(model.settings, prompt)) is None
    ]


def ask(
    model: Model,
    store: Store,
    prompts: Sequence[Prompt],
    count: Callable[[int], None] = lambda number: None,
) -> list[Reply]:
    """The reply to each of `prompts`. `count(1)` is called after each new reply.

    Errors of the model pass through; the replies before them are stored.
    """
    new = missing(model, store, prompts)
    if new:
        for place, reply in model.replies(new):
            own = stored_replies.key(model.settings, new[place])
            store.add(own, model.name, reply)
            count(1)
    replies = [store.get(stored_replies.key(model.settings, p)) for p in prompts]
    assert None not in replies
    return [reply for reply in replies if reply is not None]
