"""Measures what the checks find, and what they call wrong by mistake: ``python -m
tests.features.quality.table``.

Prints the table of ``docs/checks.md``. ``--margins`` prints how far the measurements are from
their thresholds instead.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
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
    "with other words in it": (other_caption, ("photograph (1/f noise)", "product on white")),
    "in another tint": (other_colour, ("landscape with a caption", "product on white")),
    "mirrored": (mirrored, ("landscape with a caption", "photograph (1/f noise)", "fog")),
    "with the camera moved": (shifted, ("landscape with a caption", "photograph (1/f noise)")),
}


def photographs() -> Iterator[Image.Image]:
    for path in PHOTOS:
        yield decoded(path.read_bytes()).convert("RGB")


def alike(one: Image.Image, other: Image.Image) -> bool:
    """As a run decides it."""
    first, second = thumb(one), thumb(other)
    if not Fingerprint.of(first, one.size).is_alike(Fingerprint.of(second, other.size)):
        return False
    return are_copies(first, second)


def fingerprint(image: Image.Image) -> Fingerprint:
    return Fingerprint.of(thumb(image), image.size)


def thumb(image: Image.Image) -> Image.Image:
    return scaled(image if image.mode == "RGBA" else image.convert("RGB"))


def rows(each: int) -> Iterator[tuple[str, str, int, int]]:
    """Yield the check, the kind of picture, how many it marked, and of how many."""
    for name, draw in EMPTY.items():
        made = [draw(Random(seed)) for seed in range(each)]
        yield "blank", f"empty: {name}", sum(is_blank(thumb(image)) for image in made), each
    prints: dict[str, list[Image.Image]] = {}
    for name, draw in GOOD.items():
        marked = 0
        prints[name] = []
        for seed in range(each):
            image = draw(Random(seed))
            marked += is_blank(thumb(image))
            prints[name].append(image.resize((512, 512)))
        yield "blank", f"good: {name}", marked, each
    photos = list(photographs())
    yield (
        "blank",
        "good: pictures of the repository",
        sum(map(is_blank, map(thumb, photos))),
        len(photos),
    )
    samples = [*photos, *(draw(Random(1000 + seed)) for draw in GOOD.values() for seed in range(2))]
    for name, copy in COPIES.items():
        found = sum(alike(image, copy(image)) for image in samples)
        yield "duplicate", f"copy: {name}", found, len(samples)
    for name, known in prints.items():
        pairs = list(itertools.combinations(known, 2))
        found = sum(alike(one, other) for one, other in pairs)
        yield "duplicate", f"two different ones: {name}", found, len(pairs)
    firsts = [*photos, *(each[0] for each in prints.values())]
    pairs = list(itertools.combinations(firsts, 2))
    found = sum(alike(one, other) for one, other in pairs)
    yield "duplicate", "two of different kinds", found, len(pairs)
    for name, (change, kinds) in RELATED.items():
        found = total = 0
        for kind in kinds:
            for seed in range(each):
                image = GOOD[kind](Random(seed))
                found += alike(image, change(image.copy(), Random(seed)))
                total += 1
        yield "duplicate", f"the same picture {name}", found, total


def margins(each: int) -> Iterator[str]:
    for kinds in (EMPTY, GOOD):
        for name, draw in kinds.items():
            fine, coarse = [], []
            for seed in range(each):
                small = thumb(draw(Random(seed)))
                fine.append(spread(small, EDGE))
                coarse.append(spread(small, COARSE_EDGE))
            yield f"{name}: fine {min(fine)}..{max(fine)}, coarse {min(coarse)}..{max(coarse)}"
    samples = [
        *photographs(),
        *(draw(Random(1000 + s)) for draw in GOOD.values() for s in range(2)),
    ]
    for name, copy in COPIES.items():
        cells, colours, conflicts = [], [], []
        for image in samples:
            one, other = fingerprint(image), fingerprint(copy(image))
            cells.append(_furthest(one.cells, other.cells))
            colours.append(_furthest(one.colours, other.colours))
            conflict = (one.rising & other.falling) | (one.falling & other.rising)
            conflicts.append(conflict.bit_count())
        yield f"{name}: cells {max(cells)}, colours {max(colours)}, conflicts {max(conflicts)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=EACH, help="pictures of each kind")
    parser.add_argument("--margins", action="store_true")
    chosen = parser.parse_args()
    if chosen.margins:
        print(*margins(chosen.each), sep="\n")
        return
    print("| check | pictures | marked | of |\n|---|---|---:|---:|")
    for check, what, marked, total in rows(chosen.each):
        print(f"| `{check}` | {what} | {marked} | {total:,} |")


if __name__ == "__main__":
    main()
