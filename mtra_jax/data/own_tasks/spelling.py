"""Names of labels -> those that look misspelt, missing, or like numbers or lists."""

import collections
import difflib
from collections.abc import Iterable, Iterator, Mapping

from mtra_jax.data.table_files import cells

_MOST_LABELS = 200  # all pairs of them are compared
_TIMES = 10
_FEW_CLASSES = 10
_MISSING = ("nan", "n/a", "#n/a", "null")
_SEPARATORS = ";|/"


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


def same_numbers(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yields pairs (label, more frequent label) that are one number, the rarest first.

    >>> list(same_numbers({"1": 9, "01": 2, "+1": 3, "2": 5}))
    [('01', '1'), ('+1', '1')]
    """
    rarest_first = sorted(counts, key=lambda name: counts[name])
    values = {name: cells.value_of(name) for name in rarest_first}
    most = {value: name for name, value in values.items() if value is not None}
    for name, value in values.items():
        if value is not None and most[value] != name:
            yield name, most[value]


def missing_values(names: Iterable[str]) -> list[str]:
    """The names that tables write in place of a missing value.

    >>> missing_values(["bad", "NaN", "none"])
    ['NaN']
    """
    return [name for name in names if name.casefold() in _MISSING]


def are_measurements(names: Iterable[str]) -> bool:
    """Whether the names are numbers, more than ten, and some have a fraction.

    >>> are_measurements(f"{n / 8}" for n in range(20)), are_measurements(["1", "2.5"])
    (True, False)
    """
    values = [cells.value_of(name) for name in names]
    is_number = len(values) > _FEW_CLASSES and None not in values
    return is_number and any(
        x != x.to_integral_value() for x in values if x is not None
    )


def separator_in(names: Iterable[str]) -> str:
    """A sign that seems to separate several labels in one name; "" without such a sign.

    All parts of some name are names, or parts of other names.

    >>> separator_in(["a", "a;b", "b;c"]), separator_in(["either/or", "none"])
    (';', '')
    """
    names = list(names)
    for sign in _SEPARATORS:
        parts = {name: [part.strip() for part in name.split(sign)] for name in names}
        counts = collections.Counter(part for own in parts.values() for part in own)
        for own in parts.values():
            if len(own) > 1 and all(counts[part] > 1 for part in own):
                return sign
    return ""


def _is_one_edit(a: str, b: str) -> bool:
    if len(a) != len(b):
        short, long = sorted((a, b), key=len)
        return any(long[:i] + long[i + 1 :] == short for i in range(len(long)))
    places = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    if len(places) == 2:
        i, j = places
        return j == i + 1 and (a[i], a[j]) == (b[j], b[i])
    return len(places) == 1
