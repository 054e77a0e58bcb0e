"""The program as the server of forks has it in memory: loaded, and prepared as far as all commands
are alike.
"""

from __future__ import annotations

import atexit
import codecs
import functools
import gc
import hashlib
import importlib
import pkgutil
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import typer.main
from PIL import Image
from pydantic import BaseModel

from crucible_batch import saved_plan
from crucible_batch.cli import app, demo
from crucible_batch.core import outage
from crucible_batch.core.control import ControlEntry
from crucible_batch.core.outcome import Ending
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.saved_plan import PlanHead, PlanRow, ShardRow
from crucible_batch.engine import job_worker, late_outputs, runner
from crucible_batch.features import exists
from crucible_batch.gateway.retries import Retrier
from crucible_batch.journal import codec
from crucible_batch.outputs import objects
from crucible_batch.pace.polls import ServiceTimes
from crucible_batch.report.html import page
from crucible_batch.runs import account
from crucible_batch.sandbox import SandboxConfig, pictures
from tests.harness.plain_pictures import plain_picture

_LOOK_AGAIN_AFTER_S = 0.02
_FEATURES = Path(__file__).parents[1] / "features"


def load() -> None:
    """Load all that commands load."""
    package = importlib.import_module("crucible_batch")
    for module in pkgutil.walk_packages(package.__path__, "crucible_batch."):
        if not module.name.endswith("__main__") and _is_usable(module.name):
            importlib.import_module(module.name)
    Image.init()


def _is_usable(module: str) -> bool:
    """Return whether a module is not of a feature that lacks another, which was deleted, and not
    one for Dask, which reads all variables when it is loaded.
    """
    _, room, *rest = module.split(".")
    if rest[-1:] == ["dask_engine"]:
        return False
    return room != "features" or not rest or rest[0] in {"registry", "needs"} or exists(rest[0])


def prepare() -> None:
    """Prepare what each command would prepare again, and make cheap what takes long."""
    for module in (late_outputs, runner, job_worker):
        module.LOOK_AGAIN_AFTER_S = (
            _LOOK_AGAIN_AFTER_S  # two seconds of each run; the engine's tests are about them
        )
    atexit.unregister(
        objects.wait_for_threads
    )  # a command of its own does without it too (``exit_immediately``)
    _wait_less()
    pictures.render = plain_picture
    _prepare_features()
    prepare_for(next(iter(SandboxConfig().accounts)))
    gc.collect()
    gc.freeze()


def prepare_for(key: str) -> None:
    """Prepare what each command would prepare again for runs with this API key."""
    _derive_once(key)
    _prepare_command_line()
    for kind in (PlannedJob, RunTerms, Ending, ControlEntry):
        codec._adapter(kind)
    for part in (PlanHead, PlanRow, ShardRow, saved_plan._Numbered):
        saved_plan.adapter_of(part)
    codecs.lookup("utf-8-sig")
    page.environment(page.__package__).get_template("page.html.j2")
    for model in _models_below(BaseModel):
        model.model_rebuild()


def _wait_less() -> None:
    """Retry after a tenth of the time, and poll and report an outage early.

    The waits themselves are tested in virtual time: retries and outages in ``tests/unit/gateway``,
    polls in ``tests/unit/pace/test_polls.py``, object stores in
    ``tests/unit/outputs/test_object_store.py``.
    """
    announce = ServiceTimes.announce
    ServiceTimes.announce = lambda self, workflow_id, expected_s: announce(
        self, workflow_id, (expected_s or 0) / 10
    )
    demo.SandboxConfig = functools.partial(SandboxConfig, time_scale=0.1)
    Retrier.__init__.__kwdefaults__["jitter"] = lambda: random.random() / 10
    outage.FIRST_TOLD_S = 0.5
    objects._PATIENCE_S, objects._TOLD_AFTER_S = 12.0, 0.5


def _prepare_features() -> None:
    """Have each feature prepare itself: ``prepare`` in ``tests/features/<name>/in_forks.py``, where
    there is one.
    """
    for path in sorted(_FEATURES.glob("*/in_forks.py")):
        importlib.import_module(f"tests.features.{path.parent.name}.in_forks").prepare()


def _derive_once(key: str) -> None:
    """Have the fingerprint of a key ready, which takes 50 ms.

    The installed command knows it as well.
    """
    hashlib.pbkdf2_hmac = functools.cache(hashlib.pbkdf2_hmac)
    account.secrets = SimpleNamespace(token_bytes=bytes)  # the same salt each time
    account._fingerprint(key)


def _prepare_command_line() -> None:
    """Build the tree of commands, and let each prepare its parameters, which it does when it parses
    arguments."""
    tree = typer.main.get_command(app.app)
    typer.main.get_command = lambda _app: tree
    _prepare("crucible-batch", tree, None)


def _prepare(name: str, command: Any, parent: Any) -> None:
    """Parse no arguments, within the context of the group, whose settings the command keeps as
    well."""
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    for its_name, its_command in getattr(command, "commands", {}).items():
        _prepare(its_name, its_command, context)


def _models_below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in model.__subclasses__():
        if one.__module__.startswith("crucible_batch."):
            yield one
        yield from _models_below(one)
