"""Seconds -> a text in the units in which people plan."""


def duration(seconds: float) -> str:
    """A time to two places.

    >>> duration(8), duration(95), duration(3600 * 5 + 600), duration(3600 * 60)
    ('8 s', '1 min 35 s', '5 h 10 min', '2 d 12 h')
    """
    rest = round(seconds)
    for unit, size, smaller, part in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if rest >= size:
            return f"{rest // size} {unit} {rest % size // part} {smaller}"
    return f"{rest} s"
