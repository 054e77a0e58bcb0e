"""The pattern of output paths, ``output.path``: what may stand in it, and how a job's name is filled in.

Fields: ``{name}`` (needed, since names are what keeps outputs apart), ``{workflow}``, ``{index}`` (of the output
within its job, from 0) and ``{ext}`` (with its dot). Index and extension are known only when the output is there.
"""

from __future__ import annotations

import re
import unicodedata

from crucible_batch.manifest import names
from crucible_batch.manifest.wording import nearest, shown

FIELDS = ("name", "workflow", "index", "ext")
MAX_PATTERN_BYTES = 255
_MAX_LITERAL_BYTES = 100  # beside a name of 120 bytes, an index and an extension in one file name of 255
_FIELD = re.compile(r"\{([^{}]*)\}")
_RESERVED = frozenset('<>:"|?*')


def faults(pattern: str) -> list[tuple[str, str | None]]:
    """Return what is wrong with a pattern: messages, each with the nearest known field or None."""
    found: list[tuple[str, str | None]] = [
        (
            f"unknown field {{{shown(name)}}}; there are {', '.join(f'{{{field}}}' for field in FIELDS)}",
            nearest(name, FIELDS),
        )
        for name in _FIELD.findall(pattern)
        if name not in FIELDS
    ]
    literal = _FIELD.sub("", pattern)
    found.extend((message, None) for message in _literal_faults(pattern, literal))
    if "{name}" not in pattern and all(near != "name" for _, near in found):
        found.append(("must hold {name}, which keeps the outputs of different jobs apart", None))
    if re.search(r"\{name\}\{index\}|\{index\}\{name\}|\{(\w+)\}\{\1\}", pattern):
        found.append(("needs something between {name} and {index}, such as {name}/{index}", None))
    if re.search(r"\{ext\}.", pattern):
        found.append(("must end with {ext} where it has it", None))
    found.extend((message, None) for part in pattern.split("/") if (message := _part_fault(part)))
    return list(dict.fromkeys(found))


def _literal_faults(pattern: str, literal: str) -> list[str]:
    found = []
    if "{" in literal or "}" in literal:
        found.append("has a brace without its partner")
    if "\\" in literal:
        found.append("holds \\; folders are divided by /")
    if any(character in _RESERVED for character in literal):
        found.append('holds one of < > : " | ? *, which some file systems refuse')
    if any(unicodedata.category(character)[0] == "C" for character in literal):
        found.append("holds a control character")
    if pattern.startswith("/"):
        found.append("must be relative to the run directory")
    if len(pattern.encode("utf-8", "replace")) > MAX_PATTERN_BYTES:
        found.append(f"is longer than {MAX_PATTERN_BYTES} bytes")
    return found


def _part_fault(part: str) -> str | None:
    literal = _FIELD.sub("", part)
    if part in {"", ".", ".."}:
        return "has a part that is empty, . or .., so that it may leave the run directory"
    if part[0] in ".-~ " or part[-1] in ". ":
        return "has a part that begins with . - ~ or a space, or ends with a dot or a space"
    if "{" not in part.removesuffix("{ext}") and names.is_device(literal):
        return "has a part that is a device's name on Windows"
    if len(literal.encode("utf-8", "replace")) > _MAX_LITERAL_BYTES:
        return f"has a part of more than {_MAX_LITERAL_BYTES} bytes"
    return None


def keeps_apart(pattern: str) -> bool:
    """Tell whether jobs of different names can't be in each other's way, since the name is a whole folder's.

    As the last part it isn't enough without ``{index}``: a second output of ``a`` would be called ``a-1``.
    """
    parts = pattern.split("/")
    return "{name}" in parts[:-1] or ("{name}" in parts and "{index}" in pattern)


def filled(pattern: str, workflow: str) -> str:
    """Fill in a job's workflow; ``{name}``, ``{index}`` and ``{ext}`` stay. Safe names hold no braces."""
    return pattern.replace("{workflow}", names.safe(workflow.replace("/", "-").replace("\\", "-")))
