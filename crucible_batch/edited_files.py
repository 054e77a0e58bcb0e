"""Text files that people edit and commands change, one entry a line."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.atomic_files import alone, append_lines, replacing
from crucible_batch.errors import UserError


@dataclass(frozen=True, slots=True)
class EditedFile:
    """A file that may be missing. Links are not followed.

    ``kind`` is what it should be, with its article: "a picks file". Its methods raise
    ``UserError``.
    """

    path: Path
    kind: str
    max_bytes: int

    def text(self) -> str:
        """Return the content; empty if there is no file. Refuses what is not UTF-8, and links."""
        try:
            status = self.path.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{self.path} is not a regular file", hint="name another one")
            if status.st_size > self.max_bytes:
                raise self._other_kind()
            return self.path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise self._other_kind() from None
        except OSError as error:
            raise UserError(
                f"{self.path} can't be read: {error.strerror}", hint="check its permissions"
            ) from error

    def add(self, lines: Sequence[str]) -> None:
        """Add lines at the end, and return when they are durable."""
        if lines:
            with self._explained():
                append_lines(self.path, lines)

    def remove(self, is_removed: Callable[[int, str], bool]) -> str:
        """Remove the lines for which ``is_removed`` is true, and return the text that is left.

        It is called with the number of a line, from 1, and its text. Other lines stay as they are,
        and so do those that another command adds meanwhile.
        """
        if not os.path.lexists(self.path):
            return ""
        with self._explained(), alone(self.path):
            before = self.text().splitlines()
            kept = [line for number, line in enumerate(before, 1) if not is_removed(number, line)]
            text = "".join(f"{line}\n" for line in kept)
            if len(kept) < len(before):
                with replacing(self.path) as written:
                    written.write(text.encode())
        return text

    def _other_kind(self) -> UserError:
        return UserError(
            f"{self.path} is not {self.kind}: it is too large, or not UTF-8", hint="check the file"
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.path} can't be written: {error.strerror}",
                hint="check its permissions, and its directory's",
            ) from error
