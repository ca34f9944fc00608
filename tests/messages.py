"""Error messages: what they must contain, and standard error without progress lines."""

import re


def assert_mentions(message: object, *parts: object) -> None:
    """Asserts that `message` is one line that contains the `parts`, in this order.

    A part is a path, a line, a key or a value. It is matched whole: "1" is not in "10".
    """
    text = str(message).removesuffix("\n")
    assert "\n" not in text, f"more than one line: {text!r}"
    end = 0
    for part in map(str, parts):
        match = re.compile(_whole(part)).search(text, end)
        assert match, f"{part!r} is missing from {text[end:]!r}"
        end = match.end()


def without_progress(errors: str) -> str:
    """Standard error of a run without the lines that report its progress."""
    lines = errors.splitlines(keepends=True)
    return "".join(
        x for x in lines if not re.match(r"step \d+/|evaluat(ing|ed) \d+ ", x)
    )


def _whole(part: str) -> str:
    before = r"(?<!\w)" if re.match(r"\w", part) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", part) else ""
    return before + re.escape(part) + after
