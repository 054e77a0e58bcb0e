"""The manifest, run id and gateway that a run directory belongs to, and the other run directories beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.journal.safe_files import DIRECTORY, FILE


@dataclass(frozen=True, slots=True)
class Binding:
    """The manifest, run id and gateway that a run directory belongs to.

    A directory with another binding is rejected, since each job would be bought again. ``gateway`` is the API's base
    URL. The account isn't included, since a key doesn't identify it: keys are renewed. See ``Journal.remembered_key``.
    """

    manifest_name: str
    run_id: str
    gateway: str


def journals_beside(directory: Path, binding: Binding) -> Iterator[Path]:
    """Yield the other run directories beside this one.

    These are all of ``outputs/*/*`` if this one is at its default ``NAME/RUN_ID``, else those in the same parent.
    """
    here = directory.resolve()
    at_home = (here.parent.name, here.name) == (binding.manifest_name, binding.run_id)
    home, pattern = (here.parent.parent, "*/*") if at_home else (here.parent, "*")
    for path in sorted(home.glob(f"{pattern}/{DIRECTORY}/{FILE}")):
        other = path.parent.parent
        if other.resolve() != here:
            yield other
