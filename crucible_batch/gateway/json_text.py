"""Strict parsing of JSON from the gateway: exact numbers, no duplicate keys, limited depth."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import NoReturn

ANSWER_LIMIT = 4 * 1024 * 1024
"""The largest response that is read, in bytes."""

LIST_LIMIT = 8 * ANSWER_LIMIT
"""The same for the list of assets, which has no pages: about 60,000 of them."""

DEPTH_LIMIT = 64


class UnreadableError(ValueError):
    """A response that isn't of the expected form.

    The message is the reason; it holds field names but no values. ``code`` is the code of the
    ``GatewayError`` made from it.
    """

    code = "BAD_ANSWER"


def read_json(raw: bytes) -> object:
    """Parse UTF-8 JSON text (RFC 8259; a byte order mark is accepted).

    Fractions become ``Decimal``, with all digits. Raises ``UnreadableError`` for anything else,
    including NaN and duplicate keys, which ``json.loads`` accepts. Pydantic's JSON parser can't be
    used: it turns 12345678901.123456789 into 12345678901.123457.
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
    except (ValueError, ArithmeticError):  # ArithmeticError: an exponent out of Decimal's range
        raise UnreadableError("not JSON") from None
    if raw.count(b"{") + raw.count(b"[") >= DEPTH_LIMIT:  # with fewer it can't be that deep
        _check_depth(value)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise UnreadableError(f"{name} is not a JSON number")


def _object_without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise UnreadableError("an object with duplicate keys")
    return members


def _check_depth(value: object) -> None:
    """Raise ``UnreadableError`` beyond ``DEPTH_LIMIT`` levels.

    Not recursive, so that depth uses no stack.
    """
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


_DECODER = json.JSONDecoder(
    parse_float=Decimal,
    parse_constant=_refuse_constant,
    object_pairs_hook=_object_without_duplicates,
)
