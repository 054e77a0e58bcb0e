"""The seed of a job: a pure function of its identity, which is taken with a marker in its place.

parts of a parameter's name    example                          filled
one is ``seed``, by dots       ``seed``, ``sampler.seed``       if only one is listed
one is ``seed``, by _ too      ``noise_seed``                   if only one, and none of the above
none                           ``noise``                        if the manifest names it

The function is frozen: with another one, a picture could not be made again from its identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from crucible_batch.core.identity import of_generation

SEED_BITS = 31
"""Seeds are below 2**31: every workflow accepts them, and no program rounds them."""
MARKER = {"seed": "derived"}
"""What stands in the identity for the seed."""


def derived_seed(identity: str, generation: int = 0) -> int:
    """Return the seed of a job.

    ``generation`` counts how often its content was asked for again, if the identity does not.
    """
    text = of_generation(identity, generation) if generation else identity
    digest = hashlib.sha256(f"seed:{text}".encode("ascii")).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)


def is_named_seed(name: str) -> bool:
    """Whether a part of a parameter's name, by dots, is ``seed``."""
    return "seed" in name.lower().split(".")


def seed_parameters(listed: Iterable[str]) -> Sequence[str]:
    """Return the parameters that are a seed by their names; several if that is not clear."""
    names = list(listed)
    named = [name for name in names if is_named_seed(name)]
    if named:
        return named
    return [name for name in names if "seed" in name.lower().replace("_", ".").split(".")]
