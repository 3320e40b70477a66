"""Sizes, durations and counts in words."""

from __future__ import annotations

_UNITS = ("kB", "MB", "GB", "TB", "PB")


def size(count: int) -> str:
    """A number of bytes, in decimal units as the Hub writes them: ``438.0 MB``."""
    if count < 1000:
        return number_of(count, "byte")
    amount, units = count / 1000, iter(_UNITS)
    unit = next(units)
    # From 999.95 on, one decimal would read 1000.0.
    while amount >= 999.95 and unit != _UNITS[-1]:
        amount, unit = amount / 1000, next(units)
    return f"{amount:.1f} {unit}"


def duration(seconds: float) -> str:
    """A time span: ``0.4 s``, ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {rest} s"


def number_of(count: int, noun: str) -> str:
    """``1 file``, ``12 files``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
