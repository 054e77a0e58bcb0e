"""The key ``derive`` of manifests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from crucible_batch.core.output_path import may_hold_output, output_path
from crucible_batch.errors import Problem
from crucible_batch.manifest import names
from crucible_batch.manifest.field_types import OptionalText
from crucible_batch.manifest.models import Header, Part
from crucible_batch.manifest.source_map import SourceNode

Format = Literal["webp", "jpeg", "avif"]
EXTENSIONS: dict[Format, str] = {"webp": ".webp", "jpeg": ".jpg", "avif": ".avif"}
LONGEST_EDGE = 16_383
"""The longest edge of a WebP. That of the other formats is 65,535."""


class Derive(Part):
    """A further form of each output. The output itself stays as it is."""

    format: Format = Field(description="Format of the file.")
    quality: int = Field(80, ge=1, le=100, description="Quality of the format's own scale.")
    max_edge: int | None = Field(
        None,
        ge=1,
        le=LONGEST_EDGE,
        description="Longest edge in pixels; smaller outputs keep their size.",
        examples=[1600],
    )
    path: OptionalText = Field(
        None,
        description="Pattern with {name}, {workflow}, {index} and {ext}, relative to the run"
        " directory. By default, that of the output with another extension.",
        examples=["web/{name}-{index}{ext}"],
    )


class DeriveKeys(Header):
    """A header that may have further forms of outputs."""

    derive: list[Derive] = Field(
        default_factory=list,
        description="Further forms of each output, made after it is saved.",
        examples=[[{"format": "webp", "max_edge": 1600}]],
    )

    def problems(self, site: SourceNode) -> Iterator[Problem]:
        yield from super().problems(site)
        taken: dict[tuple[str, str], int] = {}
        for number, form in enumerate(self.derive):
            path: tuple[str | int, ...] = ("derive", number)
            if form.path is not None:
                yield from _path_problems(form.path, site, (*path, "path"))
            place = form.path or self.output.path
            other = taken.setdefault((place, EXTENSIONS[form.format]), number)
            if other != number:
                yield site.problem(
                    path,
                    f"has the same path as derive[{other}]",
                    hint="give one of them a path, such as small/{name}-{index}{ext}",
                )


def _path_problems(
    pattern: str, site: SourceNode, path: tuple[str | int, ...]
) -> Iterator[Problem]:
    found = list(names.faults(pattern))
    found += [
        (f"must contain {{{field}}}", None)
        for field in ("index", "ext")
        if f"{{{field}}}" not in pattern
    ]
    for message, near in found:
        yield site.problem(
            path, message, nearest=near, hint="use a path such as web/{name}-{index}{ext}"
        )
    if not found and not may_hold_output(_example(pattern)):
        yield site.problem(
            path,
            "is the place of a file that the run itself writes",
            hint="use another folder, such as web/{name}-{index}{ext}",
        )


def _example(pattern: str) -> str:
    filled = names.filled(pattern, "workflow").replace("{name}", "name")
    return output_path(filled, 0, ".webp").as_posix()


KEYS = (DeriveKeys,)


def forms_of(header: Header) -> list[Derive]:
    """Return the forms that a manifest asks for."""
    assert isinstance(header, DeriveKeys)
    return header.derive
