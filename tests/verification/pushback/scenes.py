"""The scenes: what the gateway does, and what an ideal client would make of it."""

import math
from dataclasses import dataclass

Steps = tuple[tuple[float, float], ...]  # from this second on, at most so many jobs a second
FREE: Steps = ((0.0, math.inf),)


@dataclass(frozen=True)
class Scene:
    name: str
    options: tuple[str, ...] = ()
    steps: Steps = FREE
    concurrency: str = "auto"
    commands: int = 1

    @property
    def reference(self) -> str:
        """The scene without pushback that the pace is compared with."""
        return "clean" if self.concurrency == "auto" else f"clean-c{self.concurrency}"

    @property
    def is_reference(self) -> bool:
        return self.name == self.reference

    @property
    def has_rate(self) -> bool:
        """Whether the gateway's limit, and not the machine, is what the pace is compared with."""
        return self.steps[0][1] < math.inf


def stray(name: str, options: str, concurrency: str = "auto") -> Scene:
    return Scene(name, tuple(options.split()), concurrency=concurrency)


def cap(number: int, service_s: float, spread: float = 0.25, commands: int = 1) -> Scene:
    """A cap on jobs in flight, with enough runners for all of them."""
    options = f"--max-in-flight {number} --runners 256 --service {service_s} --spread {spread}"
    name = f"cap-{number}" if commands == 1 else "fairness"
    return Scene(name, tuple(options.split()), ((0.0, number / service_s),), commands=commands)


def rate(number: int, after: str = "", on: str = "all") -> Scene:
    """Requests a second. Where all are counted a job takes two at the very least, a submit and a poll."""
    options = f"--max-rps {number} --rps-on {on}" + (f" --retry-after {after}" if after else "")
    name = f"rps-{number}" + ("-submits" if on == "submits" else "") + (f"-after-{after}" if after else "")
    return Scene(name, tuple(options.split()), ((0.0, number / (2 if on == "all" else 1)),))


SCENES = (
    Scene("clean"),
    stray("429-0.2%", "--stray-429 0.002"),
    stray("429-1%", "--stray-429 0.01"),
    stray("429-4%", "--stray-429 0.04"),
    stray("429-10%", "--stray-429 0.1"),
    stray("429-1%-after-0", "--stray-429 0.01 --retry-after 0"),
    stray("429-1%-after-2", "--stray-429 0.01 --retry-after 2"),
    stray("429-0.2%-after-60", "--stray-429 0.002 --retry-after 60"),
    stray("503-0.5%", "--stray-503 0.005"),
    stray("mix", "--stray-500 0.01 --stray-429 0.01 --cut 0.01 --stray-503 0.005"),
    Scene("outage", ("--outage", "4:14"), ((0.0, math.inf), (4.0, 0.0), (14.0, math.inf))),
    stray("clean-c128", "", concurrency="128"),
    stray("429-1%-c128", "--stray-429 0.01", concurrency="128"),
    cap(1, 0.2, spread=0.0),
    cap(8, 0.5),
    cap(20, 0.5),
    cap(200, 4.0),
    rate(5),
    rate(5, after="1"),
    rate(60),
    rate(60, after="1"),
    rate(60, on="submits"),
    rate(500),
    rate(500, after="1"),
    Scene(
        "tenants",
        ("--tenants", "0.5", "--runners", "32", "--service", "0.5", "--spread", "0.25"),
        ((0.0, 32.0),),
    ),
    Scene(
        "change",
        ("--max-in-flight", "64", "--change", "12:8", "--change", "24:64", "--service", "1", "--spread", "0.25"),
        ((0.0, 64.0), (12.0, 8.0), (24.0, 64.0)),
    ),
    cap(40, 0.5, commands=4),
)
