"""JSON within a page: text that no HTML parser can take for markup, whatever a prompt or a gateway says."""

from __future__ import annotations

import json

from markupsafe import Markup

_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"},
)
"""``<`` could end the script element or begin a comment in it; U+2028 and U+2029 end a line in older scripts."""


def embedded(json_text: str) -> Markup:
    """Return JSON that means the same and may stand in a script element. All of these only occur within strings."""
    return Markup(json_text.translate(_ESCAPES))  # noqa: S704 - made safe just here


def compact(value: object) -> str:
    """Write JSON without spaces. Raises ``ValueError`` for NaN and infinity."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
