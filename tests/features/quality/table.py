"""Measures what the checks find, and what they call wrong by mistake: ``python -m
tests.features.quality.table``.

Prints the table of ``docs/checks.md``. ``--kinds`` prints a row for each kind of picture,
``--margins`` how far the measurements are from their thresholds.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from PIL import Image

from crucible_batch.features.quality.measurements import (
    COARSE_EDGE,
    EDGE,
    Fingerprint,
    _furthest,
    are_copies,
    is_blank,
    spread,
)
from crucible_batch.features.quality.thumbnail import scaled
from tests.features.quality.pictures import (
    COPIES,
    EMPTY,
    GOOD,
    PHOTOS,
    decoded,
    mirrored,
    other_caption,
    other_colour,
    shifted,
)

EACH = 20
RELATED = {
    "mirrored": (mirrored, ("landscape with a caption", "photograph (1/f noise)", "fog")),
    "in another tint": (other_colour, ("landscape with a caption", "product on white")),
    "with the camera moved": (shifted, ("landscape with a caption", "photograph (1/f noise)")),
    "with other words in it": (other_caption, ("photograph (1/f noise)", "product on white")),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A picture as a run measures it."""

    thumbnail: Image.Image
    fingerprint: Fingerprint

    @classmethod
    def of(cls, image: Image.Image) -> Measured:
        small = thumb(image)
        return cls(small, Fingerprint.of(small, image.size))

    def is_copy_of(self, other: Measured) -> bool:
        is_alike = self.fingerprint.is_alike(other.fingerprint)
        return is_alike and are_copies(self.thumbnail, other.thumbnail)


@dataclass(frozen=True, slots=True)
class Row:
    """How many of ``total`` pictures of a kind, or pairs of them, a check has marked."""

    check: str
    group: str
    kind: str
    marked: int
    total: int


def thumb(image: Image.Image) -> Image.Image:
    return scaled(image if image.mode == "RGBA" else image.convert("RGB"))


def alike(one: Image.Image, other: Image.Image) -> bool:
    """As a run decides it."""
    return Measured.of(one).is_copy_of(Measured.of(other))


def photographs() -> list[Image.Image]:
    return [decoded(path.read_bytes()).convert("RGB") for path in PHOTOS]


def rows(each: int) -> Iterator[Row]:
    """Measure ``each`` pictures of each kind."""
    for kind, draw in EMPTY.items():
        empty = [is_blank(thumb(draw(Random(seed)))) for seed in range(each)]
        yield Row("blank", "empty pictures", kind, sum(empty), each)
    photos = [Measured.of(image) for image in photographs()]
    good = {
        kind: [Measured.of(draw(Random(seed))) for seed in range(each)]
        for kind, draw in GOOD.items()
    }
    for kind, known in good.items():
        yield Row("blank", "good pictures", kind, _blank(known), each)
    yield Row("blank", "pictures of the repository", "all", _blank(photos), len(photos))
    samples = [*photographs(), *(draw(Random(99 + n)) for draw in GOOD.values() for n in range(2))]
    for kind, copy in COPIES.items():
        found = sum(alike(image, copy(image)) for image in samples)
        yield Row("duplicate", "copies of one picture", kind, found, len(samples))
    for kind, known in good.items():
        yield _pairs("two pictures of one kind", kind, known)
    firsts = [*photos, *(known[0] for known in good.values())]
    yield _pairs("two pictures of different kinds", "all", firsts)
    for kind, (change, drawn) in RELATED.items():
        group = "a picture and its variant"
        if kind == "with other words in it":
            group = "a picture, and the same with other words in it"
        images = [(GOOD[each_kind](Random(n)), n) for each_kind in drawn for n in range(each)]
        found = sum(alike(image, change(image.copy(), Random(n))) for image, n in images)
        yield Row("duplicate", group, kind, found, len(images))


def _blank(known: Iterable[Measured]) -> int:
    return sum(is_blank(each.thumbnail) for each in known)


def _pairs(group: str, kind: str, known: list[Measured]) -> Row:
    pairs = list(itertools.combinations(known, 2))
    found = sum(one.is_copy_of(other) for one, other in pairs)
    return Row("duplicate", group, kind, found, len(pairs))


def table(each: int) -> str:
    """Return the table of the docs: a row for each group."""
    lines = ["| check | pictures | kinds | marked |", "|---|---|---|---:|"]
    for (check, group), found in itertools.groupby(
        rows(each), key=lambda row: (row.check, row.group)
    ):
        known = list(found)
        kinds = ", ".join(row.kind for row in known)
        marked, total = sum(row.marked for row in known), sum(row.total for row in known)
        lines.append(f"| `{check}` | {group} | {kinds} | {marked:,} of {total:,} |")
    return "\n".join(lines) + "\n"


def margins(each: int) -> Iterator[str]:
    for kinds in (EMPTY, GOOD):
        for name, draw in kinds.items():
            small = [thumb(draw(Random(seed))) for seed in range(each)]
            fine = [spread(one, EDGE) for one in small]
            coarse = [spread(one, COARSE_EDGE) for one in small]
            yield f"{name}: fine {min(fine)}..{max(fine)}, coarse {min(coarse)}..{max(coarse)}"
    samples = [*photographs(), *(draw(Random(99)) for draw in GOOD.values())]
    for name, copy in COPIES.items():
        pairs = [
            (Measured.of(image).fingerprint, Measured.of(copy(image)).fingerprint)
            for image in samples
        ]
        cells = max(_furthest(one.cells, other.cells) for one, other in pairs)
        colours = max(_furthest(one.colours, other.colours) for one, other in pairs)
        yield f"{name}: cells up to {cells}, colours up to {colours}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=EACH, help="pictures of each kind")
    parser.add_argument("--kinds", action="store_true")
    parser.add_argument("--margins", action="store_true")
    chosen = parser.parse_args()
    if chosen.margins:
        print(*margins(chosen.each), sep="\n")
    elif chosen.kinds:
        for row in rows(chosen.each):
            print(f"{row.check:10} {row.group}: {row.kind}: {row.marked} of {row.total:,}")
    else:
        print(table(chosen.each), end="")


if __name__ == "__main__":
    main()
