"""UUIDs in a sequence fixed by a seed, so that a run can be repeated to the letter."""

import hashlib
import uuid


class Ids:
    """The UUIDs of one seed, in order. Start behind the `issued` ones to go on after a restart without a repeat."""

    def __init__(self, seed: str, issued: int = 0) -> None:
        self._seed = seed
        self._issued = issued

    def next(self) -> str:
        """Give the next id."""
        self._issued += 1
        return str(uuid.UUID(bytes=digest(self._seed, self._issued)[:16], version=4))


def digest(*parts: object) -> bytes:
    """Hash `parts` into 32 bytes that look random: the sandbox's only source of chance."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()


def chance(*parts: object) -> float:
    """Map `parts` to a number in [0, 1): equal parts, equal chance, on every machine."""
    return int.from_bytes(digest(*parts)[:7], "big") / 2**56
