"""Features: what takes part in runs, plans and the command line, and is not needed to buy one image
and save it.

Each folder here is a feature, and can be deleted: then its options, commands and manifest keys are
unknown, and the rest works as before. What a feature adds is found by the names of files in its
folder:

    file              what it has                   what it adds
    commands.py       commands                      commands of the command line, a Typer
    manifest_keys.py  KEYS                          keys of manifests: subclasses of its parts
    manifest_document.py  KEY, completed(...)   values of a manifest that other files have
    report_fields.py  fields(journal)               fields of a report's head (ReportHead), by
                                                    the notes of its journal
    row_fields.py     of_rows(journal)              a function that fills fields of jobs' rows
    output_properties.py  NAME,                 what is embedded in outputs of manifests whose
                      property_of(planned)          `provenance` has the name (``properties``)
    kept_files.py     kept(journal)                 files that runs make from outputs and keep:
                                                    check compares them, prune deletes them
    run_options.py    Options, EXAMPLES, HELP       options of `run`: a dataclass of FeatureOptions
    run_command.py    run(...)                      how `run` makes its runs; one feature has it
    later_jobs.py     may_add, with_later           jobs that runs add to their plans, beside the
                                                    jobs of entries that are derived
    plan_options.py   Options, EXAMPLES, HELP       options of `plan`, likewise
    plan_command.py   prepared(...)                 what `plan` does before it plans
    plan_folder.py    plan_file(...), export(...)   files that `plan` writes beside a plan
    plan_view.py      show, as_json, show_next      what `plan` shows of a plan
    report_options.py Options, EXAMPLES, HELP       options of `report`, likewise
    result_view.py    show_plan, show_report        where else `plan`, `run` and `report` show their
                                                    results, or in which other form
    merged_notes.py   NAMES                         notes of a run that the main journal takes from
                                                    those of its shards
    followed_plan.py  chosen(...)                   the part of a saved plan that a run follows
    demo_options.py   Options, EXAMPLES, HELP       options of `demo`, likewise
    next_command.py   next_command(run_dir, head,   the command after a run that is complete, by
                                   command)         the one that runs it again
                      first_step(blocked, run_dir)  what comes before the next command
    given_commands.py give(run, words)              how ``ctl`` reaches runs on other machines
    page_fields.py    read(directory), changes,     fields of a run's page that change beside its
                      is_current                    journal
    page_commands.py  COMMAND                       a command that pages of a run show
    page_posts.py     NAME, answer(directory,       what pages of `view --control` send, and the
                      content), script(), ...       script that sends it
    decisions.py      decisions(journal,            which outputs people have picked or rejected
                                directory)
    doctor_checks.py  checks(request, settings)     what ``doctor MANIFEST`` tries
    schemas.py        OPTION, HELP, schema()        a schema that ``schema --OPTION`` prints

What takes part in a run or a plan is in the lists of ``registry.py``, since its order matters.
``needs.py`` has which feature can't do without another.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from crucible_batch.features.needs import NEEDS

_FOLDER = Path(__file__).parent


def found(name: str) -> Iterator[Any]:
    """Yield the module of this name of each feature that has one, in the order of the features'
    names.

    An error in a module is raised: a limit on credits must not vanish because its feature can't be
    imported.
    """
    for path in sorted(_FOLDER.glob(f"*/{name}.py")):
        if exists(path.parent.name):
            yield import_module(f"{__name__}.{path.parent.name}.{name}")


def exists(feature: str) -> bool:
    """Return whether a feature was not deleted, and neither was one that it needs.

    A folder may be left without modules: git and pip keep one that has bytecode in it.
    """
    needed = NEEDS.get(feature, frozenset())
    is_there = (_FOLDER / feature / "__init__.py").is_file()
    return is_there and all(map(exists, needed))


def load(reference: str) -> Any:
    """Return what a reference such as ``notify.part:NoticesPart`` names; None if the feature was
    deleted."""
    module, _, attribute = reference.partition(":")
    if not exists(module.partition(".")[0]):
        return None
    return getattr(import_module(f"{__name__}.{module}"), attribute)
