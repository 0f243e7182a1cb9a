"""
Amounts as policies write them: sizes of memory, shares of processors.

What comes in: a text. What goes out: a number, or None where the text is no such amount. It knows no limit that is
sensible: `checks` does.
"""

from __future__ import annotations

UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
DIGITS_MAX = 9


def size(text: str) -> int | None:
    """Bytes of "2GiB", "1.5GiB", "512MiB"."""
    unit = UNITS.get(text[-3:])
    whole, point, fraction = text[:-3].partition(".")
    if unit is None or not _is_number(whole) or (point and not _is_number(fraction)):
        return None
    return int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if point else 0)


def percent(text: str) -> int | None:
    """150 of "150%"."""
    return int(text[:-1]) if text.endswith("%") and _is_number(text[:-1]) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX


def size_words(amount: int) -> str:
    """Bytes for people: "2 GiB", "1.5 GiB", "300 MiB"."""
    for unit, factor in reversed(UNITS.items()):
        if amount >= factor:
            return f"{round(amount / factor, 2):g} {unit}"
    return f"{amount} bytes"
