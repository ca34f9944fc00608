"""What a user can mend: one line that says what is wrong, where, and what was expected."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A wrong file, flag or value. Scripts print its single line and exit with code 2."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the nearest known names as the end of an error message.

    >>> did_you_mean("emotoin", ["emotion", "irony"])
    'did you mean emotion?'
    >>> did_you_mean("xyz", ["emotion", "irony"])
    'known: emotion, irony'
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known)}"
