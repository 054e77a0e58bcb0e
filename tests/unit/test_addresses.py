"""The address that stands for the repository's, until that is known: ``docs/releasing.md``."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from crucible_batch.cli.schema import _SCHEMAS, schema_of

ROOT = Path(__file__).parents[2]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
ADDRESS = URLS["Source"]


def test_the_address_of_the_repository_is_the_same_everywhere() -> None:
    assert all(url.startswith(ADDRESS) for url in URLS.values())
    for name in _SCHEMAS:
        assert schema_of(name)["$id"] == f"{ADDRESS}/raw/main/docs/{name}.schema.json"
    releasing = (ROOT / "docs" / "releasing.md").read_text(encoding="utf-8")
    (entry,) = re.findall(r"```json\n(.+?)```", releasing, flags=re.DOTALL)
    assert json.loads(entry)["url"] == schema_of("manifest")["$id"]


def test_a_stranger_cannot_take_the_address_that_stands_for_the_repository() -> None:
    """Until it is replaced, it is below a name that is never given to anybody (RFC 2606)."""
    host = ADDRESS.removeprefix("https://").partition("/")[0]
    assert host == "github.com" or host.endswith(".example")
