"""A manifest that a program gives as a value, not as a file: written as YAML, it is read and
checked as any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any, cast

import yaml

VALUE_PATH = Path("<manifest>")
"""The path of a manifest without a file, in messages and reports.

Its directory is the working directory.
"""


def written(value: Mapping[str, object]) -> bytes:
    """Return a value as YAML. Paths are texts in it, and amounts have all of their digits.

    Raises ``ValueError`` for an object that YAML does not know.
    """
    try:
        text: str = yaml.dump(
            value, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=2**20
        )
        return text.encode()
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from None


class _Dumper(yaml.SafeDumper):
    """Writes each text in quotes, since YAML 1.1 and 1.2 differ in what is a text without them."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: object) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style='"')


def _amount(dumper: yaml.SafeDumper, value: Decimal) -> yaml.ScalarNode:
    text = format(value, "f")
    return dumper.represent_scalar(f"tag:yaml.org,2002:{'float' if '.' in text else 'int'}", text)


def _mapping(dumper: yaml.SafeDumper, value: Mapping[Any, Any]) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", dict(value))


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Decimal, _amount)
_Dumper.add_multi_representer(str, _text)
_Dumper.add_multi_representer(PurePath, _text)
_Dumper.add_multi_representer(cast("Any", Mapping), _mapping)
