"""Identity: the identity of a job and the idempotency keys of its attempts, derived from its
content alone.

A job's identity is the digest of a canonical form of its content: the manifest's name, the run id,
the workflow, the parameters, the SHA-256 of each input image and the repeat index. An attempt's
idempotency key is derived from the identity and the attempt's number. Neither depends on a row
number, a job's name or the gateway's ids, so renaming, reordering and inserting jobs costs nothing,
and a machine without any state derives the same keys.

The canonical form is a JSON of our own, since RFC 8785 converts integers to binary floats (two
64-bit seeds would share one key). Integers are exact, object keys are sorted by code point, text is
not normalised (it is sent as written), and values without a form in JSON are refused. A float that
is a whole number below 2**53 is written as that integer: JSON doesn't distinguish them, so the key
doesn't either.

The form is frozen. A change needs another version (``cb2-``), with the old one kept for existing
journals.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

KEY_PREFIX = "cb1-"
_GENERATION = ":g"
_EXACT_FLOAT_LIMIT = 2**53


def canonical(value: Json) -> str:
    """Write ``value`` in the canonical form, version 1: pure ASCII, no white space.

    Raises ``ValueError`` for NaN, infinity and lone surrogates, ``TypeError`` for keys that are not
    text and for values that JSON cannot represent.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _canonical_float(value)
        case str():
            return _canonical_text(value)
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise TypeError("object keys must be text")
            members = (f"{_canonical_text(key)}:{canonical(value[key])}" for key in sorted(value))
            return "{" + ",".join(members) + "}"
        case Sequence() if not isinstance(value, bytes | bytearray):
            return "[" + ",".join(map(canonical, value)) + "]"
        case _:
            raise TypeError(f"JSON cannot represent {type(value).__name__}")


def _canonical_float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("JSON cannot represent NaN and infinity")
    if value.is_integer() and abs(value) < _EXACT_FLOAT_LIMIT:
        return str(int(value))
    return repr(value)


def _canonical_text(value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("text contains a lone surrogate, which is not a character") from None
    return encode_basestring_ascii(value)


def job_identity(
    *,
    manifest: str,
    run_id: str,
    workflow_id: str,
    params: Mapping[str, Json],
    images: Mapping[str, str],
    repeat: int,
) -> str:
    """Return the identity of a job: 64 hexadecimal digits.

    ``params`` are sent unchanged; ``images`` maps the image parameters to the SHA-256 of the
    image's bytes, since the asset id that is sent differs from upload to upload. ``repeat`` counts
    from 1.
    """
    content: Mapping[str, Json] = {
        "manifest": manifest,
        "run_id": run_id,
        "workflow_id": workflow_id,
        "params": params,
        "images": images,
        "repeat": repeat,
    }
    return hashlib.sha256(canonical(content).encode("ascii")).hexdigest()


def of_generation(identity: str, generation: int) -> str:
    """Return the identity of a generation of a job: the same content, asked for once more.

    Generation 0 is the job itself. A later one has ``:gN`` after the digits of its content, so the
    key of its attempts is that of ``identity:gN:attempt``.
    """
    content = content_of(identity)
    return content if generation == 0 else f"{content}{_GENERATION}{generation}"


def generation_of(identity: str) -> int:
    """Return the generation of an identity; 0 for all that was asked for once."""
    number = identity.partition(_GENERATION)[2]
    return int(number) if number.isascii() and number.isdecimal() else 0


def content_of(identity: str) -> str:
    """Return the identity of generation 0, which depends on the content alone."""
    return identity.partition(_GENERATION)[0]


def idempotency_key(identity: str, attempt: int) -> str:
    """Return the key of one attempt (from 1) at a job: ``cb1-`` and 64 hexadecimal digits, 68 of
    the 128 allowed.
    """
    digest = hashlib.sha256(f"{KEY_PREFIX}{identity}:{attempt}".encode("ascii")).hexdigest()
    return KEY_PREFIX + digest
