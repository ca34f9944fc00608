"""Numbers of examples by label -> labels that look like misspellings of others."""

import difflib
from collections.abc import Iterator, Mapping

_MOST_LABELS = 200  # all pairs of them are compared
_TIMES = 10


def suspects(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yields pairs (label, other label that may be meant), the rarest label first.

    The two differ in case alone; or the label has a single example and resembles the
    other; or the other has ten times as many examples and is one edit away: a letter
    more, less or another one, or two letters exchanged. Labels with digits are left out,
    as 1 and 10 resemble each other, and so are tasks with more than 200 labels.

    >>> list(suspects({"bad": 18, "godo": 1, "good": 17, "neutral": 12}))
    [('godo', 'good')]
    """
    names = [name for name in counts if not any(map(str.isdigit, name))]
    if len(names) > _MOST_LABELS:
        return
    names.sort(key=lambda name: counts[name])
    for place, name in enumerate(names, start=1):
        same = [x for x in names[place:] if x.casefold() == name.casefold()]
        more = [other for other in names if counts[other] > counts[name]]
        near = difflib.get_close_matches(name, more, n=1) if counts[name] == 1 else []
        many = [other for other in more if counts[other] >= _TIMES * counts[name]]
        edited = [other for other in many if min(len(other), len(name)) > 3]
        edited = [other for other in edited if _is_one_edit(name, other)]
        if candidates := [*same, *near, *edited]:
            yield name, candidates[0]


def _is_one_edit(a: str, b: str) -> bool:
    if len(a) != len(b):
        short, long = sorted((a, b), key=len)
        return any(long[:i] + long[i + 1 :] == short for i in range(len(long)))
    places = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    if len(places) == 2:
        i, j = places
        return j == i + 1 and (a[i], a[j]) == (b[j], b[i])
    return len(places) == 1
