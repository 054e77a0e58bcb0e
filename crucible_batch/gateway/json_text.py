"""JSON from outside, read strictly: exact numbers, no duplicate keys, bounded depth."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Final, NoReturn

ANSWER_LIMIT: Final = 4 * 1024 * 1024
"""The largest answer that is read, in bytes: a list of some 8,000 assets. More is no answer to any of our questions."""

DEPTH_LIMIT: Final = 64


class UnreadableError(ValueError):
    """An answer that is not what was promised; its text says why, and holds nothing of the answer but names.

    ``code`` is that of the error that is made of it.
    """

    code = "BAD_ANSWER"


def read_json(raw: bytes) -> object:
    """Parse UTF-8 JSON text (RFC 8259; a byte order mark is let pass). Fractions come as ``Decimal``, digit for digit.

    Pydantic's own JSON reader is no choice here: it makes 12345678901.123457 of 12345678901.123456789. Raises
    ``UnreadableError`` for all else, which ``json.loads`` alone would not: it takes NaN and duplicate keys.
    """
    if not raw.strip():
        raise UnreadableError("empty")
    try:
        value: object = _DECODER.decode(raw.decode("utf-8-sig"))
    except UnreadableError:
        raise
    except UnicodeDecodeError:
        raise UnreadableError("not UTF-8") from None
    except RecursionError:
        raise UnreadableError("nested too deeply") from None
    except (ValueError, ArithmeticError):  # ArithmeticError: an exponent that no Decimal has
        raise UnreadableError("not JSON") from None
    if raw.count(b"{") + raw.count(b"[") >= DEPTH_LIMIT:  # with fewer it can't be that deep
        _check_depth(value)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise UnreadableError(f"{name} is no JSON number")


def _object_without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise UnreadableError("an object with duplicate keys")
    return members


def _check_depth(value: object) -> None:
    """Walk level by level, so that depth costs no stack."""
    level = [value]
    for _ in range(DEPTH_LIMIT):
        children: list[object] = []
        for node in level:
            if isinstance(node, dict):
                children.extend(node.values())
            elif isinstance(node, list):
                children.extend(node)
        if not children:
            return
        level = children
    raise UnreadableError("nested too deeply")


_DECODER: Final = json.JSONDecoder(
    parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_object_without_twins
)
