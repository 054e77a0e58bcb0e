"""Forms that a secret may take in an answer, and a reader who sees through them, independent of the
program's own."""

from __future__ import annotations

import base64
import html
import re
import urllib.parse
from collections.abc import Callable, Iterator

DISGUISES: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper": str.upper,
    "token alone": lambda key: key.partition("_")[2],
    "zero width": lambda key: key[:5] + "\u200b" + key[5:-3] + "\u2060" + key[-3:],
    "soft hyphen": lambda key: key.replace("_", "\u00ad_"),
    "byte order mark": lambda key: key[:12] + "\ufeff" + key[12:],
    "combining": "\u0301".join,
    "bidi": lambda key: f"{key[:14]}\u202e{key[14:]}\u2069",
    "control": lambda key: key[:14] + "\x00\x07" + key[14:],
    "terminal escape": lambda key: f"{key[:14]}\x1b[31m{key[14:]}",
    "lone surrogate": lambda key: key[:14] + "\ud800" + key[14:],
    "spaces": " ".join,
    "lines": lambda key: f"{key[:20]}\r\n\t{key[20:]}",
    "line separator": lambda key: key[:20] + "\u2028" + key[20:],
    "JSON": lambda key: key.replace("_", "\\u005f"),
    "JSON, all": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "JSON, line": lambda key: f"{key[:20]}\\n{key[20:]}",
    "JSON, zero width": lambda key: f"{key[:20]}\\u200b{key[20:]}",
    "percent": lambda key: "".join(f"%{byte:02X}" for byte in key.encode()),
    "percent, zero width": lambda key: urllib.parse.quote(key[:15] + "\u200b" + key[15:]),
    "percent, terminal escape": lambda key: urllib.parse.quote(key[:15] + "\x1b[1m" + key[15:]),
    "HTML": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "HTML, hexadecimal": lambda key: "".join(f"&#x{ord(c):x};" for c in key),
    "HTML, named": lambda key: key.replace("_", "&lowbar;").replace("-", "&shy;-"),
    "HTML in JSON": lambda key: "".join(f"\\u0026#{ord(c)};" for c in key),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 of a header": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    "base64, wrapped": lambda key: base64.encodebytes(f"xx Bearer {key}{key}".encode()).decode(),
    "base64 for URLs": lambda key: base64.urlsafe_b64encode(f"x{key}".encode()).decode(),
}


def shows(secret: str, text: str) -> bool:
    """Whether a reader finds the secret in a text."""
    token = _letters(secret.partition("_")[2])
    return any(token in _letters(view) for view in _readings(text))


def _readings(text: str) -> Iterator[str]:
    seen, todo = set[str](), [text]
    while todo and len(seen) < 200:
        view = todo.pop()
        if view in seen:
            continue
        seen.add(view)
        yield view
        todo.append(re.sub(r"\x1b\[[0-9;]*m", "", view))
        todo.append(html.unescape(view))
        todo.append(urllib.parse.unquote(view))
        todo.append(re.sub(r"\\+[nrt]", "", view))
        todo.append(re.sub(r"\\+u([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), view))
        for word in re.findall(r"[A-Za-z0-9+/_-]{24,}", view.replace("\n", "")):
            padded = word.replace("-", "+").replace("_", "/") + "=" * (-len(word) % 4)
            if len(word) % 4 != 1:
                todo.append(base64.b64decode(padded).decode("latin-1"))


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.encode("ascii", "ignore").decode().lower()))
