"""The local directory of the journal of a run whose outputs are in an object store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from crucible_batch.errors import UserError
from crucible_batch.object_url import ObjectUrl
from crucible_batch.settings import state_directory


def state_directory_of(url: ObjectUrl, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the local directory of a run's journal. Raises ``UserError`` if the environment has no home directory."""
    return _state(url, environ) / "runs" / url.digest


def shards_directory_of(url: ObjectUrl, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the local directory in which workers of a cluster run shards. Raises as ``state_directory_of`` does."""
    return _state(url, environ) / "shards" / url.digest


def _state(url: ObjectUrl, environ: Mapping[str, str]) -> Path:
    state = state_directory(environ)
    if state is None:
        raise UserError(
            f"a run at {url} needs a local directory for its journal, and neither XDG_STATE_HOME nor HOME is set",
            hint="set XDG_STATE_HOME to an absolute path on a disk that is kept; nothing was spent",
        )
    return state
