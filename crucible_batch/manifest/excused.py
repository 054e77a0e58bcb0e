"""The template variables that an entry may have had, had the keys that make them been sound: no problem if unknown."""

from __future__ import annotations

from collections.abc import Iterator

from crucible_batch.manifest.manifest import Entry, Manifest
from crucible_batch.manifest.site import Site

SETS_VARIABLES = frozenset({"matrix", "zip", "foreach"})


class Excused:
    """A set of names; it holds all there are where a mapping of them is lost whole, so that no name can be told."""

    __slots__ = ("_everything", "_names")

    def __init__(self, entry: Entry, manifest: Manifest) -> None:
        self._everything = False
        self._names: set[str] = set()
        if entry.unknown or manifest.unknown:
            self._lose(entry, manifest)

    def _lose(self, entry: Entry, manifest: Manifest) -> None:
        lost: list[tuple[Site, str]] = [(entry.site, key) for key in ("matrix", "zip") if key in entry.unknown]
        if "vars" in manifest.unknown:
            lost.append((manifest.site, "vars"))
        if "matrix" in manifest.unknown and entry.job.matrix is None:
            lost.append((manifest.site, "matrix"))
        self._everything = not all(_is_named(site, key) for site, key in lost)
        self._names = {name for site, key in lost for name in _names(site, key)}
        if "foreach" in entry.unknown:
            self.add("row")

    def __contains__(self, name: object) -> bool:
        return self._everything or name in self._names

    def add(self, name: str) -> None:
        self._names.add(name)


def _is_named(site: Site, key: str) -> bool:
    return isinstance(site.value.get(key), dict) and site.is_sound((key,), within=False)


def _names(site: Site, key: str) -> Iterator[str]:
    mapping = site.value.get(key)
    yield from mapping if isinstance(mapping, dict) else ()
