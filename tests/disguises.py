"""Forms that a secret may take in an answer, and a reader who sees through them, independent of the program's own."""

from __future__ import annotations

import base64
import html
import json
import re
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator

FULL_WIDTH = {ord(" ") + n: 0xFF00 + n for n in range(1, 95)}


def _units(text: str) -> Iterator[int]:
    raw = text.encode("utf-16-le", "surrogatepass")
    return (raw[at] + 256 * raw[at + 1] for at in range(0, len(raw), 2))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


DISGUISES: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper": str.upper,
    "token alone": lambda key: key.partition("_")[2],
    "all but its end": lambda key: key[:-1],
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
    "full width": lambda key: key.translate(FULL_WIDTH),
    "bold": lambda key: "".join(chr(0x1D41A + ord(c) - 97) if c.islower() else c for c in key),
    "JSON": lambda key: key.replace("_", "\\u005f"),
    "JSON, all": lambda key: "".join(f"\\u{unit:04x}" for unit in _units(key)),
    "JSON twice": lambda key: key.replace("_", "\\\\u005f"),
    "JSON, line": lambda key: f"{key[:20]}\\n{key[20:]}",
    "JSON, bold": lambda key: json.dumps("".join(chr(0x1D41A + ord(c) - 97) if c.islower() else c for c in key)),
    "JavaScript": lambda key: "".join(f"\\x{ord(c):02x}" for c in key),
    "code point": lambda key: "".join(f"\\u{{{ord(c):x}}}" for c in key),
    "octal": lambda key: "".join(f"\\{ord(c):03o}" for c in key),
    "percent": lambda key: "".join(f"%{byte:02X}" for byte in _bytes(key)),
    "percent twice": lambda key: "".join(f"%25{byte:02x}" for byte in _bytes(key)),
    "percent, zero width": lambda key: urllib.parse.quote(key[:15] + "\u200b" + key[15:]),
    "HTML": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "HTML, hexadecimal": lambda key: "".join(f"&#x{ord(c):x};" for c in key),
    "HTML, named": lambda key: key.replace("_", "&lowbar;").replace("-", "&shy;-"),
    "HTML in JSON in percent": lambda key: urllib.parse.quote(key.replace("_", "\\u0026#95;")),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 of a header": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    "base64, wrapped": lambda key: base64.encodebytes(f"xx Bearer {key}{key}".encode()).decode(),
    "base64 for URLs": lambda key: base64.urlsafe_b64encode(f"x{key}".encode()).decode(),
    "hexadecimal": lambda key: key.encode().hex(),
}


def shows(secret: str, text: str) -> bool:
    """Whether a reader finds the secret, or most of it, in a text."""
    token = _letters(secret.partition("_")[2])
    parts = {token[start : start + 23] for start in range(max(1, len(token) - 22))}
    return any(part in _letters(view) for view in _readings(text) for part in parts)


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
        todo.append(re.sub(r"\\+u\{([0-9a-f]+)\}", lambda m: chr(int(m[1], 16)), view))
        todo.append(re.sub(r"\\+x([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), view))
        todo.append(re.sub(r"\\+([0-7]{3})", lambda m: chr(int(m[1], 8)), view))
        todo.append(view.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        for word in re.findall(r"[A-Za-z0-9+/_-]{24,}", view.replace("\n", "")):
            padded = word.replace("-", "+").replace("_", "/") + "=" * (-len(word) % 4)
            if len(word) % 4 != 1:
                todo.append(base64.b64decode(padded).decode("latin-1"))
            if re.fullmatch(r"(?:[0-9a-f]{2})+", word):
                todo.append(bytes.fromhex(word).decode("latin-1"))


def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return "".join(filter(str.isalnum, plain))
