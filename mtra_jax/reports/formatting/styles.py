"""How a format writes signs, emphasis and missing figures: plain text, Markdown, LaTeX."""

import re
from collections.abc import Callable
from typing import NamedTuple

from mtra_jax.reports.formatting import tables

SIGNIFICANT = 0.05
"""Smaller p-values have a mark."""


class Style(NamedTuple):
    plus_minus: str
    bold: Callable[[str], str]
    number: Callable[[str], str]
    less: str
    mark: str
    missing: str
    escape: Callable[[str], str]
    """Makes a name of the user safe in a cell."""

    def p(self, value: float) -> str:
        """A p-value: three decimals, marked below `SIGNIFICANT`."""
        digits = f"{self.less}0.001" if value < 0.001 else f"{value:.3f}"
        return digits + (self.mark if value < SIGNIFICANT else "")

    def interval(self, low: float, high: float) -> str:
        """An interval of signed percentages."""
        # "z": no sign before a zero.
        ends = (self.number(format(end, "+z.2f")) for end in (low, high))
        return f"[{', '.join(ends)}]"


def _latex_bold(digits: str) -> str:
    # A sign needs math mode, in which \textbf does nothing.
    signed = digits[0] in "+-"
    return rf"$\mathbf{{{digits}}}$" if signed else rf"\textbf{{{digits}}}"


def _latex_number(digits: str) -> str:
    return f"${digits}$" if digits[0] in "+-" else digits


LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _latex_escape(name: str) -> str:
    pattern = r"[\\~^<>|&%$#_{}]"
    escaped = re.sub(pattern, lambda match: LATEX_ESCAPES[match.group()], name)
    # After the \\ of the row above, [ begins its option, and * is a part of it.
    return f"{{}}{escaped}" if name.startswith(("[", "*")) else escaped


PLAIN = Style("±", str, str, "<", "*", tables.MISSING, str)
MARKDOWN = PLAIN._replace(bold="**{}**".format, escape=tables.escaped)
LATEX = Style(
    r"$\pm$", _latex_bold, _latex_number, "$<$", r"$^{*}$", "--", _latex_escape
)
