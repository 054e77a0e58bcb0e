"""The filters that templates may use: Jinja2's filters if they can't grow a value, otherwise
bounded versions.

Two filters differ from Jinja2 on purpose: ``int`` and ``float`` fail for a value that is not a
number, unless a default is given: ``{{ row.seed | int(1) }}``. Jinja2 returns 0, so a typo in a
column of seeds would buy the same image 300 times. Filters that are random, produce HTML or only
pad text are left out.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from crucible_batch.manifest.names import slug

Variables = Mapping[str, Any]
"""The values that a template may use, by name."""

# A prompt has at most 32 KiB; intermediate values may be longer, such as a file that is split into
# words.
MAX_WEIGHT = 256 * 1024
MAX_ITEMS = 10_000
MAX_BITS = 1024
# One unit is roughly one character copied; a loop step costs 100. The full budget takes a few
# tenths of a second.
MAX_WORK = 4_000_000
STEP_COST = 100


class TemplateFault(Exception):  # noqa: N818 - it becomes a Problem
    """A template that can't be compiled or rendered.

    ``line`` is the line within the template, 0 if unknown. ``is_unknown_name`` marks a fault that
    is the same for every row.
    """

    def __init__(
        self,
        message: str,
        *,
        nearest: str | None = None,
        hint: str | None = None,
        line: int = 0,
        is_unknown_name: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.nearest = nearest
        self.hint = hint
        self.line = line
        self.is_unknown_name = is_unknown_name


@dataclass(frozen=True, slots=True)
class TemplatePart:
    """A compiled part of a template: one expression, or a complete template with more than simple
    expressions.

    ``names`` are the variables that it may use. ``pieces`` yields its text. ``value`` returns the
    value of an expression and is None for a complete template. Both raise any exception of the
    template's operations. ``column`` is that of the row which the expression inserts, and None if
    it does more with it than filters do.
    """

    names: frozenset[str]
    pieces: Callable[[Variables], Iterable[str]]
    value: Callable[[Variables], Any] | None
    column: str | None = None


class LimitError(ValueError):
    """A template exceeded a limit."""


class Meter:
    """A counter of the work of one rendering.

    ``start`` resets it; don't share it between concurrent renderings.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_WORK

    def start(self) -> None:
        self._left = MAX_WORK

    def charge(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise LimitError(
                "the template takes too long; it has too many loop steps or makes too much text"
            )

    def steps(self, items: Any) -> Iterator[Any]:
        """Yield the items of a loop, charging for each."""
        for item in items:
            self.charge(STEP_COST)
            yield item


def weigh(value: object) -> int:
    """Return the approximate size of a value with all nested values. Raises ``LimitError`` if it is
    too large.

    A list that contains the same list a thousand times counts it a thousand times, as printing it
    would.
    """
    if type(value) is str:  # nearly all
        check_weight(10 + len(value))
        return 10 + len(value)
    weight, stack = 0, [value]
    while stack:
        current = stack.pop()
        weight += 10
        if isinstance(current, str):
            weight += len(current)
        elif isinstance(current, list | tuple):
            stack.extend(current)
        elif isinstance(current, Mapping):
            stack.extend(current)
            stack.extend(current.values())
        elif isinstance(current, int) and current.bit_length() > MAX_BITS:
            raise LimitError("a number of more than 300 digits")
        check_weight(weight)
    return weight


def listed(value: Any) -> Any:
    """Return an iterator, as some filters return, as a list; other values unchanged.

    Raises ``LimitError`` if the list would be too long.
    """
    if isinstance(value, Iterator):
        items = list(islice(value, MAX_ITEMS + 1))
        check_items(len(items))
        return items
    return value


def check_weight(weight: int) -> None:
    if weight > MAX_WEIGHT:
        raise LimitError(f"a value of more than {MAX_WEIGHT // 1024} KiB")


def check_items(count: int) -> None:
    if count > MAX_ITEMS:
        raise LimitError(f"a list of more than {MAX_ITEMS:,} items")


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Raise ``LimitError`` if an arithmetic operation could make a much larger value than its
    operands."""
    if operator == "%" and isinstance(left, str):
        raise LimitError(
            "text % values is not available; use the filter format, or join text with ~"
        )
    if operator == "*" and any(isinstance(each, str | list | tuple) for each in (left, right)):
        raise LimitError("only numbers can be multiplied")
    if operator == "**" and right > MAX_BITS:
        raise LimitError("a number of more than 300 digits")


_TAKEN_OVER = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "items", "last", "length",
    "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr",
    "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper", "wordcount",
)  # fmt: skip
_REQUIRED: Any = object()
_WIDE = re.compile(r"%(\([^)]*\))?[^a-zA-Z%]*(\*|[0-9]{3})")


def text_of(value: object) -> str:
    """Return a value as text in YAML's spelling: true, not True.

    Raises ``ValueError`` or ``TypeError`` if the value has no plain form, and for an unknown name.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        raise ValueError(
            "the value is null; set another value with the filter default('...', true)"
        )
    if isinstance(value, list | tuple | Mapping):
        raise TypeError(
            "a list or mapping can't be inserted into text; use the filter join or tojson"
        )
    str(value)  # raises for an unknown name, with that name
    raise ValueError(f"a value of the type {type(value).__name__} can't be inserted into text")


def concat(*parts: object) -> str:
    """Return the parts joined as text, for the operator ``~``."""
    return "".join(text_of(part) for part in parts)


def to_int(value: Any, default: Any = _REQUIRED, base: int = 10) -> Any:
    if isinstance(value, str):
        return _converted(value, default, lambda text: int(text, base), "an integer")
    return _converted(value, default, int, "an integer")


def to_float(value: Any, default: Any = _REQUIRED) -> Any:
    return _converted(value, default, _finite, "a number")


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _converted(value: Any, default: Any, convert: Callable[[Any], Any], kind: str) -> Any:
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError):
        if default is _REQUIRED:
            raise ValueError(f"{repr(value)[:60]} is not {kind}") from None
        return default


def round_(value: Any, precision: Any = 0, method: str = "common") -> Any:
    if not isinstance(precision, int) or abs(precision) > 30:
        raise LimitError("round takes a precision of at most 30 digits")
    return _of_jinja("round")(value, precision, method)


def replace(text: Any, old: str, new: str, count: int = -1) -> str:
    text, old, new = text_of(text), text_of(old), text_of(new)
    check_weight(len(text) + text.count(old) * len(new))
    replaced: str = text.replace(old, new, count)
    return replaced


def join(items: Iterable[Any], separator: str = "") -> str:
    texts = [text_of(item) for item in items]
    check_weight(len(separator) * len(texts))
    return separator.join(texts)


def format_(pattern: str, *values: Any, **named: Any) -> str:
    if _WIDE.search(pattern):
        raise LimitError("format takes widths of at most 99")
    return pattern % (named or values)


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


_OWN: dict[str, Callable[..., Any]] = {
    "int": to_int,
    "float": to_float,
    "round": round_,
    "replace": replace,
    "join": join,
    "format": format_,
    "tojson": to_json,
    "slug": lambda value: slug(text_of(value)),
    # Inserted by the compiler around operators and literals; not for use in manifests.
    "_concat": concat,
    "_bounded": lambda value: value,
}
NAMES = tuple(name for name in (*_TAKEN_OVER, *_OWN) if not name.startswith("_"))


def table(meter: Meter) -> dict[str, Callable[..., Any]]:
    """Return all filters by name, each with bounded results and charged to ``meter``."""
    taken = {name: _bounded(_of_jinja(name), meter) for name in _TAKEN_OVER}
    own = {name: _bounded(function, meter) for name, function in _OWN.items()}
    return taken | own | {"_steps": meter.steps}


def _of_jinja(name: str) -> Callable[..., Any]:
    # Takes 20 ms, and is not needed for manifests without templates.
    from jinja2.filters import FILTERS  # noqa: PLC0415

    found: Callable[..., Any] = FILTERS[name]
    return found


def _bounded(function: Callable[..., Any], meter: Meter) -> Callable[..., Any]:
    first = (
        1 if hasattr(function, "jinja_pass_arg") else 0
    )  # Jinja2 passes its context or environment first

    @functools.wraps(function)  # keeps the attribute jinja_pass_arg
    def call(*args: Any, **named: Any) -> Any:
        meter.charge(10 + sum(weigh(argument) for argument in args[first:]))
        result = listed(function(*args, **named))
        meter.charge(weigh(result))
        return result

    return call
