"""Exceptions that mean: the request was wrong, and here is what to do about it.

The command line prints their message as it is and ends with exit code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN_VALUE_LENGTH = 80
SHOWN_CHOICES = 24


class RequestError(ValueError):
    """The user asked for something that cannot be; the message names place, value and next step."""

    exit_code = 2


def shown(value: object) -> str:
    """The value as it may stand in a message: its repr, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= SHOWN_VALUE_LENGTH else text[: SHOWN_VALUE_LENGTH - 1] + "…"


def listed(choices: Iterable[str]) -> str:
    """Names separated by commas, cut to a readable number; ``none`` if there are none."""
    names = list(choices)
    if not names:
        return "none"
    more = f", … ({len(names) - SHOWN_CHOICES} more)" if len(names) > SHOWN_CHOICES else ""
    return ", ".join(names[:SHOWN_CHOICES]) + more


def nearest(value: object, choices: Iterable[str]) -> str | None:
    """The choice that is spelt most like the value, if one is near."""
    names = list(choices)
    found = difflib.get_close_matches(str(value), names, n=1, cutoff=0.6)
    if not found:
        lowered = {name.lower(): name for name in names}
        found = [lowered[near] for near in difflib.get_close_matches(str(value).lower(), lowered, n=1, cutoff=0.6)]
    return found[0] if found else None


def suggestion(value: object, choices: Iterable[str]) -> str:
    """``; did you mean 'X'?`` or nothing."""
    near = nearest(value, choices)
    return "" if near is None else f"; did you mean {near!r}?"
