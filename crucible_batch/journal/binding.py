"""What a run directory belongs to, and the other run directories beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.errors import RunDirectoryError
from crucible_batch.journal.safe_files import DIRECTORY, FILE


@dataclass(frozen=True, slots=True)
class Binding:
    """The manifest, run id and gateway that a run directory belongs to.

    A directory with another binding is rejected, since each job would be bought again. ``gateway``
    is the API's base URL. The account isn't included, since a key doesn't identify it: keys are
    renewed. See ``Journal.remembered_key``.
    """

    manifest_name: str
    run_id: str
    gateway: str

    @property
    def rows(self) -> dict[str, str]:
        """The rows of the table ``meta``."""
        return {"manifest": self.manifest_name, "run id": self.run_id, "gateway": self.gateway}

    def check(self, bound: Mapping[str, str], directory: Path) -> None:
        """Raise ``RunDirectoryError`` if the directory has another binding.

        ``bound`` are its rows of the table ``meta``.
        """
        for key, value in self.rows.items():
            if bound.get(key) != value:
                raise RunDirectoryError(
                    f"{directory} belongs to another {key}: {bound.get(key)!r}, not {value!r}",
                    hint="choose another --out-dir; in this one, every job would be bought again",
                )


def journals_beside(directory: Path, binding: Binding) -> Iterator[Path]:
    """Yield the other run directories beside this one.

    These are all of ``outputs/*/*`` if this one is at its default ``NAME/RUN_ID``, else those in
    the same parent.
    """
    here = directory.resolve()
    home, pattern = here.parent, "*"
    if (here.parent.name, here.name) == (binding.manifest_name, binding.run_id):
        home, pattern = here.parent.parent, "*/*"
    for path in sorted(home.glob(f"{pattern}/{DIRECTORY}/{FILE}")):
        other = path.parent.parent
        if other.resolve() != here:
            yield other
