"""What a template may use up: bounds on work, text, lists and numbers, checked before they are exceeded.

Jinja2's sandbox keeps templates from the machine, not from eating it: ``'a' * 10**9``, lists doubled forty times, or
loops within loops would take all memory or for ever. Each operation that can grow a value asks here first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

# A prompt has at most 32 KiB; what leads to it may be longer for a while, a file that is cut into words for one.
MAX_TEXT = 256 * 1024
MAX_ITEMS = 10_000
MAX_BITS = 1024
# One unit is about a character copied; a step of a loop costs a hundred. All of it takes some tenths of a second.
MAX_WORK = 4_000_000
STEP_COST = 100


class LimitError(ValueError):
    """A template asked for more than it may have."""


class Meter:
    """Counts the work of one rendering. ``start`` begins the next one; not for two renderings at a time."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_WORK

    def start(self) -> None:
        self._left = MAX_WORK

    def charge(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise LimitError("the template takes too long; it loops too often or makes too much text")

    def steps(self, items: Any) -> Iterator[Any]:
        """Pass on the items of a loop, charging for each."""
        for item in items:
            self.charge(STEP_COST)
            yield item


def weigh(value: object) -> int:
    """Return roughly how large a value is, all within it counted. Raises ``LimitError`` where it is too large.

    A list that holds one list a thousand times weighs that list a thousand times: printing it would, too.
    """
    if isinstance(value, str):  # as most are
        check_text(len(value))
        return len(value) + 10
    weight, items, stack = 0, 0, [value]
    while stack:
        current = stack.pop()
        items += 1
        if items > MAX_ITEMS:
            raise LimitError(f"a list of more than {MAX_ITEMS:,} items")
        if isinstance(current, str):
            weight += len(current)
            check_text(weight)
        elif isinstance(current, list | tuple):
            check_items(len(current))
            stack.extend(current)
        elif isinstance(current, Mapping):
            check_items(len(current))
            stack.extend(current)
            stack.extend(current.values())
        elif isinstance(current, int):
            check_bits(current.bit_length())
    return weight + 10 * items


def listed(value: Any) -> Any:
    """Turn the generators that filters return into lists, within bounds."""
    if isinstance(value, Iterator):
        items = list(islice(value, MAX_ITEMS + 1))
        check_items(len(items))
        return items
    return value


def check_text(length: int) -> None:
    if length > MAX_TEXT:
        raise LimitError(f"a text of more than {MAX_TEXT // 1024} KiB")


def check_items(count: int) -> None:
    if count > MAX_ITEMS:
        raise LimitError(f"a list of more than {MAX_ITEMS:,} items")


def check_bits(bits: int) -> None:
    if bits > MAX_BITS:
        raise LimitError("a number of more than 300 digits")


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Refuse an arithmetic operation whose result would be too large, before it is made."""
    if operator == "%" and isinstance(left, str):
        raise LimitError("text % values is not available; use the filter format, or join text with ~")
    if isinstance(left, str | list | tuple) or isinstance(right, str | list | tuple):
        _check_sequences(operator, left, right)
    elif isinstance(left, int) and isinstance(right, int):
        if operator == "*":
            check_bits(left.bit_length() + right.bit_length())
        elif operator == "**":
            check_bits(left.bit_length() * max(right, 0))


def _check_sequences(operator: str, left: Any, right: Any) -> None:
    if operator == "*":
        sequence, count = (right, left) if isinstance(left, int) else (left, right)
        size = len(sequence) * max(count, 0) if isinstance(count, int) and not isinstance(sequence, int) else 0
    elif operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        sequence, size = left, len(left) + len(right)
    else:
        return
    (check_text if isinstance(sequence, str) else check_items)(size)
