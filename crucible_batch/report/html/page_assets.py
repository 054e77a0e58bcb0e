"""The page's scripts and styles, joined from their files, with the digests for its security policy."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from markupsafe import Markup

_SCRIPTS = (
    "dom", "words", "facets", "model", "address", "theme", "pieces", "summary", "toolbar", "gallery", "sums", "compare",
    "time", "copying", "sources", "stars", "picks", "notes", "zip", "exports", "versus", "stage", "detail", "flip",
    "keys", "render",
)  # fmt: skip
"""In the order in which they build on each other; each is one function of the page's own scope."""
_STYLES = ("tokens", "page", "gallery", "compare", "dialogs", "charts")


@dataclass(frozen=True, slots=True)
class PageAssets:
    """The inlined scripts and styles, and the policy that permits only these and no external resources."""

    script: Markup
    style: Markup
    policy: str


@cache
def report_assets() -> PageAssets:
    """Read the files of the package; once in a process."""
    # Pictures may come from beside the page, which is file: on a disk.
    return make_assets(report_scripts(), report_styles(), "img-src 'self' data: file:")


def report_scripts(*names: str) -> str:
    """Return the text of the page's scripts; of all of them, unless some are named."""
    return _joined("scripts", names or _SCRIPTS, ".js")


def report_styles(*names: str) -> str:
    """Return the text of the page's styles; of all of them, unless some are named."""
    return _joined("styles", names or _STYLES, ".css")


def make_assets(scripts: str, style: str, *sources: str) -> PageAssets:
    """Return the assets of a page. ``sources`` are the directives of its policy for other resources."""
    script = "'use strict';\n(() => {\n" + scripts + "})();\n"
    return PageAssets(Markup(script), Markup(style), _policy(script, style, sources))  # noqa: S704 - our own files


def _joined(folder: str, names: tuple[str, ...], suffix: str) -> str:
    root = resources.files(__package__) / folder
    return "\n".join((root / (name + suffix)).read_text(encoding="utf-8") for name in names)


def _policy(script: str, style: str, sources: tuple[str, ...]) -> str:
    """Resources that ``sources`` does not permit are not loaded."""
    return "; ".join(
        (
            "default-src 'none'",
            *sources,
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
