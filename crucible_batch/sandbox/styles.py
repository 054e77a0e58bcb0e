"""The looks of pictures, as a table: which words of a prompt call for which colours and scenes."""

import re
from dataclasses import dataclass

from crucible_batch.sandbox.ids import digest

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Style:
    """Colours and scenes that go together; `words` are those of a prompt that ask for them."""

    words: frozenset[str]
    scenes: tuple[str, ...]
    """Names in `scenes.SCENES`; the seed chooses among them."""
    sky: tuple[Colour, Colour, Colour]
    """Top, middle and bottom of the background."""
    layers: tuple[Colour, ...]
    """From far to near."""
    accent: Colour


def _style(words: str, scenes: str, sky: str, layers: str, accent: str) -> Style:
    top, middle, bottom = map(_colour, sky.split())
    return Style(
        frozenset(words.split()),
        tuple(scenes.split()),
        (top, middle, bottom),
        tuple(map(_colour, layers.split())),
        _colour(accent),
    )


def _colour(text: str) -> Colour:
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


NAMED_STYLES: tuple[Style, ...] = (
    _style(
        "noir monochrome detective film shadow shadows",
        "skyline blinds",
        "0b0b0d 3a3a3f 8d8d90",
        "6a6a6e 454549 28282b 0c0c0e",
        "f2efe6",
    ),
    _style(
        "watercolor watercolour aquarelle ink wash",
        "wash",
        "fbf7ee f6efe0 efe4d0",
        "7fb3c8 e3a18f 9dbf9e d9b95f 8c87b8",
        "3b4a5a",
    ),
    _style(
        "blueprint schematic technical diagram plan",
        "drafting",
        "123a72 0f3263 0a2549",
        "2f62a3 5f8fc7 9fc0e6 d7e6f8",
        "ffffff",
    ),
    _style(
        "neon cyberpunk synthwave cyber glowing night",
        "glow skyline",
        "0a0420 1b0a3c 3a0f5c",
        "ff2fa0 21e6ff 9d4dff 170734",
        "fff36b",
    ),
    _style(
        "pastel soft candy dreamy kawaii",
        "orbs hills waves",
        "fde2e8 fbeee0 e4f0fb",
        "f7c5d5 f9dcc0 cfe5cf c3d8f2 d8c9ee",
        "ffe3a3",
    ),
    _style(
        "sunset sunrise dusk dawn golden",
        "hills waves",
        "2f1b52 d9526b ffc778",
        "b8436b 8a2f63 571f55 2b1240",
        "ffe9a8",
    ),
    _style(
        "forest wood woods jungle green moss meadow",
        "hills facets",
        "e7efd2 b9d3a6 7fae83",
        "7fa878 4f8460 2f6150 173c38",
        "f6e27a",
    ),
    _style(
        "ocean sea water wave waves lake river",
        "waves orbs",
        "d9f1f2 86cfd8 2f8fb0",
        "56b4c6 2b8bb0 1a6391 0f3d6b",
        "fff4d6",
    ),
    _style(
        "winter snow ice arctic frost frozen",
        "hills facets",
        "5c7fa8 a9c4dc eef4f8",
        "b8cfe2 d3e2ee e8f0f6 ffffff",
        "fbe7c3",
    ),
    _style(
        "space galaxy cosmic star stars moon planet",
        "night",
        "05061a 131642 3a2565",
        "7b5cd6 c86fc9 f2a0a8 2a2f6e",
        "fff7d6",
    ),
)

# For prompts that name no style: a prompt always gets the same one of these.
PLAIN_STYLES: tuple[Style, ...] = (
    _style("", "facets hills rings", "0f4c5c 5f9ea0 e8d8a8", "2c7a7b e36414 fb8b24 9a031e", "fff1d0"),
    _style("", "rings orbs waves", "22223b 4a4e69 c9ada7", "9a8c98 c9ada7 f2e9e4 4a4e69", "ffd6a5"),
    _style("", "waves facets hills", "264653 2a9d8f e9c46a", "f4a261 e76f51 2a9d8f 264653", "fff3d9"),
    _style("", "orbs rings facets", "3d2645 832161 da4167", "f0eff4 da4167 832161 3d2645", "ffe0ec"),
    _style("", "hills waves rings", "335c67 9fb8ad fff3b0", "e09f3e 9e2a2b 540b0e 335c67", "fffbe6"),
    _style("", "facets orbs rings", "1b263b 415a77 e0e1dd", "778da9 415a77 1b263b 0d1b2a", "ffcb77"),
)


def style_of(prompt: str) -> Style:
    """Choose the style that the most words of a prompt ask for, the first of the table among equals."""
    words = set(re.findall(r"\w+", prompt.casefold()))
    best = max(NAMED_STYLES, key=lambda style: len(style.words & words))
    if best.words & words:
        return best
    return PLAIN_STYLES[digest("style", prompt)[0] % len(PLAIN_STYLES)]
