"""The page's scripts and styles, put together from their files, with the digests that its security policy names."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from markupsafe import Markup

_SCRIPTS = (
    "dom", "words", "model", "address", "theme", "pieces", "summary", "toolbar", "gallery", "compare", "time",
    "copying", "detail", "flip", "keys", "render",
)  # fmt: skip
"""In the order in which they build on each other; each is one function of the page's own scope."""
_STYLES = ("tokens", "page", "gallery", "compare", "dialogs", "charts")


@dataclass(frozen=True, slots=True)
class Parts:
    """What is inlined, and the policy that lets a browser run exactly that and load nothing from anywhere."""

    script: Markup
    style: Markup
    policy: str


@cache
def page_parts() -> Parts:
    """Read the files of the package; once in a process."""
    root = resources.files(__package__)
    script = "'use strict';\n(() => {\n" + _joined(root / "scripts", _SCRIPTS, ".js") + "})();\n"
    style = _joined(root / "styles", _STYLES, ".css")
    return Parts(Markup(script), Markup(style), _policy(script, style))  # noqa: S704 - our own files


def _joined(folder: Traversable, names: tuple[str, ...], suffix: str) -> str:
    return "\n".join((folder / (name + suffix)).read_text(encoding="utf-8") for name in names)


def _policy(script: str, style: str) -> str:
    """Pictures may come from beside the page, which is ``file:`` on a disk. Nothing else may come at all."""
    return "; ".join(
        (
            "default-src 'none'",
            "img-src 'self' data: file:",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
