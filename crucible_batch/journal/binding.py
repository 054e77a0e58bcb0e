"""What a run directory belongs to, and the other run directories of the same user beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.journal.safe_files import DIRECTORY, FILE


@dataclass(frozen=True, slots=True)
class Binding:
    """What a run directory belongs to. A directory bound to anything else is refused: each job would be bought again.

    ``gateway`` is the API's base URL. A key doesn't identify its account, since keys are renewed: see
    ``Journal.remembered_key``.
    """

    manifest_name: str
    run_id: str
    gateway: str


def journals_beside(directory: Path, binding: Binding) -> Iterator[Path]:
    """Yield the other run directories that share a home with this one.

    That is all of ``outputs/*/*`` where it lies at its own ``NAME/RUN_ID``, else those of the same parent.
    """
    here = directory.resolve()
    at_home = (here.parent.name, here.name) == (binding.manifest_name, binding.run_id)
    home, pattern = (here.parent.parent, "*/*") if at_home else (here.parent, "*")
    for path in sorted(home.glob(f"{pattern}/{DIRECTORY}/{FILE}")):
        other = path.parent.parent
        if other.resolve() != here:
            yield other
