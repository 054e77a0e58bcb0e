"""What an output store needs of an object store, and what it learns of an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from crucible_batch.object_url import ObjectUrl


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows of an object without its bytes.

    ``sha256`` is the digest in its metadata, if it has one; ``is_ours``: a run wrote it.
    """

    byte_size: int
    sha256: str | None
    e_tag: str | None
    is_ours: bool


class ObjectPort(Protocol):
    """The objects below ``url``; keys are relative to it.

    Each method raises ``ObjectStoreError`` if the store fails. Failed requests have been repeated
    by then.
    """

    url: ObjectUrl

    def address(self, key: str) -> str:
        """Return the URL of an object, for messages."""

    async def create(self, key: str, content: bytes) -> bool:
        """Create an object, unless one has the name.

        Then nothing is changed, and the result is False. The name exists only once all bytes are
        stored. A request whose answer was lost may have created it, and its repetition then returns
        False. Raises ``DamagedUploadError`` if the store has other bytes than were sent; no object
        has the name then.
        """

    async def replace(self, key: str, content: bytes, info: ObjectInfo) -> bool:
        """Replace an object that is still as ``info`` describes; otherwise change nothing.

        Returns whether the object has the new bytes then, which another process may have written as
        well.
        """

    async def info(self, key: str) -> ObjectInfo | None:
        """Return what the store knows of an object without its bytes; None if there is none."""

    async def digest(self, key: str) -> str | None:
        """Read an object and return the SHA-256 of its bytes; None if there is none."""

    async def read(self, key: str) -> bytes | None:
        """Return an object's bytes; None if there is none."""

    async def names(self, folder: str) -> list[str]:
        """Return the keys of all objects in a folder, in no order.

        One that was created meanwhile may be missing.
        """

    async def delete(self, key: str) -> None:
        """Delete an object. It is not an error if there is none."""
