"""YAML as people write it: keys in order, and text of several lines as a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def yaml_text(documents: Sequence[Any]) -> str:
    """Return documents as YAML 1.1, each after a line ``---`` if there is more than one."""
    return yaml.dump_all(
        documents,
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=None,  # innermost lists and mappings on one line
        explicit_start=len(documents) > 1,
        width=120,
        allow_unicode=True,
    )
