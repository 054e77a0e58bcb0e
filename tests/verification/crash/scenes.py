"""Scenes: what a manifest asks for, worked out beside it, so that a judge knows what should have
been bought.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random

from PIL import Image

from crucible_batch.sandbox import SandboxConfig, parse_faults

PRICES = {"zimage-base": Decimal(2), "zimage-sheet": Decimal("3.5"), "qwen-edit": Decimal(3)}
OUTPUTS = {"zimage-base": 1, "zimage-sheet": 2, "qwen-edit": 1}
UPLOAD_PRICE = Decimal("0.5")
UPLOAD_BOUND = 16 * UPLOAD_PRICE
"""What an upload without a figure counts with, once the price of one was seen."""
CANARY = "moltazine_canary_9d1c4b7e02af53"
"""The API key of every scene. Wherever else than at the API it is found, it was leaked."""
ATTEMPTS = 3

HEAD = """\
version: 1
name: crash
workflow: zimage-base
provenance: {sidecar: true}
params: {size.width: 64, size.height: 64}
workflows: {zimage-sheet: {params: {size.width: 64, size.height: 64}}}
"""


@dataclass(frozen=True)
class Want:
    """``count`` jobs that ask for the same, by a prompt that is theirs alone.

    ``hopeless``: the gateway refuses it.
    """

    prompt: str
    workflow: str = "zimage-base"
    count: int = 1
    image: str | None = None
    hopeless: bool = False

    def line(self) -> str:
        image = f", image: {self.image}" if self.image else ""
        repeat = f", repeat: {self.count}" if self.count > 1 else ""
        name = self.prompt.replace(" ", "-")
        return (
            f"  - {{name: {name}, prompt: {self.prompt}, workflow: {self.workflow}{image}{repeat}}}"
        )


@dataclass(frozen=True)
class Scene:
    """A manifest, its images, and the gateway that it meets.

    ``spare`` is what the budget has beyond all prices: the last job holds its ceiling of 4, not its
    price of 2 or more, and each kill may lose the answer of an upload for every image. Beside it
    there is room for the bounds of those.
    """

    wants: tuple[Want, ...]
    concurrency: int
    faults: str
    ceiling: str | None = "4"
    spare: Decimal = Decimal(5)
    upload_ceiling: str | None = None
    images: Mapping[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        names = sorted({want.image for want in self.wants if want.image})
        object.__setattr__(self, "images", {name: _picture(name) for name in names})

    @property
    def digests(self) -> set[str]:
        return {hashlib.sha256(content).hexdigest() for content in self.images.values()}

    @property
    def budget(self) -> Decimal:
        jobs = sum((PRICES[want.workflow] * want.count for want in self.wants), Decimal(0))
        return jobs + (UPLOAD_PRICE + 2 * UPLOAD_BOUND) * len(self.images) + self.spare

    @property
    def gateway(self) -> SandboxConfig:
        return SandboxConfig(
            accounts={CANARY: Decimal(10_000)},
            faults=parse_faults(self.faults),
            time_scale=0.01,
            ready_after_s=0.002,
            upload_price=UPLOAD_PRICE,
        )

    def write(self, folder: Path) -> None:
        """Write the manifest and its images."""
        for name, content in self.images.items():
            (folder / name).write_bytes(content)
        ceiling = f", max_credits_per_job: {self.ceiling}" if self.ceiling else ""
        upload_ceiling = (
            f", max_credits_per_upload: {self.upload_ceiling}" if self.upload_ceiling else ""
        )
        budget = f"budget: {{credits: {self.budget}{ceiling}{upload_ceiling}}}\njobs:\n"
        lines = [want.line() for want in self.wants]
        (folder / "m.yaml").write_text("\n".join([HEAD + budget + lines[0], *lines[1:], ""]))


def steady_scene() -> Scene:
    """The scene of the test suite: two images, one of them for two jobs, a sheet, a repeat,
    failures of both kinds.
    """
    return Scene(
        wants=(
            Want("one sheet", "zimage-sheet"),
            Want("first text"),
            Want("first edit", "qwen-edit", image="a.png"),
            Want("never nsfw", hopeless=True),
            Want("second edit", "qwen-edit", image="a.png"),
            Want("third edit", "qwen-edit", image="b.png"),
            Want("same again", count=2),
        ),
        concurrency=4,
        faults="generate.fail=2",
    )


def six_jobs() -> Scene:
    """Six jobs and two images, and a gateway at which nothing goes wrong by itself."""
    return Scene(
        wants=(
            Want("one sheet", "zimage-sheet"),
            Want("first text"),
            Want("first edit", "qwen-edit", image="a.png"),
            Want("second edit", "qwen-edit", image="a.png"),
            Want("third edit", "qwen-edit", image="b.png"),
            Want("second text"),
        ),
        concurrency=3,
        faults="",
    )


def big_scene(jobs: int, images: int) -> Scene:
    """So many jobs, so many of them with an image of their own, and a third of the others with two
    outputs."""
    edits = [Want(f"edit {n}", "qwen-edit", image=f"{n}.png") for n in range(images)]
    others = [
        Want(f"other {n}", "zimage-base" if n % 3 else "zimage-sheet") for n in range(jobs - images)
    ]
    wants = edits + others
    Random(jobs).shuffle(wants)
    return Scene(wants=tuple(wants), concurrency=8, faults="generate.fail=2", spare=Decimal(6))


def any_scene(seed: int) -> Scene:
    """Another one for each seed, concurrency and luck included."""
    chance = Random(seed)
    images = [f"{name}.png" for name in "abc"[: chance.randint(0, 3)]]
    wants = [Want(f"text {n}", count=chance.choice((1, 1, 2))) for n in range(chance.randint(1, 4))]
    wants += [Want(f"sheet {n}", "zimage-sheet") for n in range(chance.randint(0, 2))]
    wants += [
        Want(f"edit {n}", "qwen-edit", image=chance.choice(images))
        for n in range(chance.randint(1, 5))
        if images
    ]
    wants += [Want(f"nsfw {n}", hopeless=True) for n in range(chance.randint(0, 1))]
    chance.shuffle(wants)
    return Scene(
        wants=tuple(wants),
        concurrency=chance.choice((1, 2, 4, 8)),
        faults=chance.choice(("", "generate.fail=2", "fail:0.2")),
        ceiling=chance.choice((None, "4")),
    )


SCENES: Mapping[str, Callable[[int], Scene]] = {
    "any": lambda seed: any_scene(seed) if seed else steady_scene(),
    "steady": lambda _: steady_scene(),
    "six": lambda _: six_jobs(),
    "twenty": lambda _: big_scene(20, 8),
    "fifty": lambda _: big_scene(50, 20),
}


def _picture(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.frombytes("RGB", (16, 16), hashlib.shake_256(name.encode()).digest(768)).save(
        buffer, "PNG"
    )
    return buffer.getvalue()
