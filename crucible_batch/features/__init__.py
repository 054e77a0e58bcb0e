"""Features: what takes part in runs, plans and the command line, and is not needed to buy one image and save it.

Each folder here is a feature, and can be deleted: then its options, commands and manifest keys are unknown, and the
rest works as before. What a feature adds is found by the names of files in its folder:

    file                what it has                    what it adds
    commands.py         add_to(app)                    commands of the command line
    manifest_keys.py    KEYS                           keys of manifests: subclasses of parts of the header
    report_fields.py    fields(journal)                fields of a report, by the notes of its journal
    doctor_checks.py    checks(request, settings)      what ``doctor MANIFEST`` tries
    schemas.py          OPTION, HELP, schema()         a schema that ``schema --OPTION`` prints

What takes part in a run or a plan is in the lists of ``registry.py``, since its order matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


def found(name: str) -> Iterator[Any]:
    """Yield the module of this name of each feature that has one, in the order of the features' names.

    An error in a module is raised: a limit on credits must not vanish because its feature can't be imported.
    """
    for path in sorted(_FOLDER.glob(f"*/{name}.py")):
        yield import_module(f"{__name__}.{path.parent.name}.{name}")


def load(reference: str) -> Any:
    """Return what a reference such as ``notify.part:NoticesPart`` names; None if the feature's folder doesn't exist."""
    module, _, attribute = reference.partition(":")
    if not (_FOLDER / module.partition(".")[0]).is_dir():
        return None
    return getattr(import_module(f"{__name__}.{module}"), attribute)
