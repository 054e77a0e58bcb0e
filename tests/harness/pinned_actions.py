"""GitHub actions are pinned by commits, and each commit is listed in ``docs/releasing.md``."""

from __future__ import annotations

import re
from pathlib import Path

_RELEASING = (Path(__file__).parents[2] / "docs" / "releasing.md").read_text(encoding="utf-8")
_PIN = re.compile(r"uses: ([\w.-]+/[\w./-]+)@([0-9a-f]{40}) # (v[0-9.]+)")


def assert_actions_are_pinned(text: str) -> None:
    """Check all lines of a workflow, or of the source that writes one, that use an action."""
    lines = [line for line in text.splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        pin = _PIN.search(line)
        assert pin is not None, f"pin it by its commit, with the version as a comment: {line}"
        action, commit, version = pin.groups()
        owner, name = action.split("/")[:2]
        assert f"| `{owner}/{name}` | {version} | `{commit[:12]}` |" in _RELEASING
