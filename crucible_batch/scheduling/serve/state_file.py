"""The progress of a scheduler in a file, for the next start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from crucible_batch.atomic_files import replacing
from crucible_batch.scheduling.serve.decision import ManifestState, Start

_VERSION = 1


def read_progress(file: Path) -> dict[str, ManifestState]:
    """Return the progress by manifest; empty without a file. Raises ``ValueError`` if it can't be read."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ValueError(f"{file} can't be read: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{file} is not a scheduler's state") from None
    try:
        return {str(path): _progress(str(path), each) for path, each in content["manifests"].items()}
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ValueError(f"{file} is not a scheduler's state") from None


def write_progress(file: Path, progress: Mapping[str, ManifestState]) -> None:
    """Write the progress, completely or not at all. Raises ``OSError``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": _VERSION, "manifests": {path: _as_json(each) for path, each in sorted(progress.items())}}
    with replacing(file) as target:
        target.write(json.dumps(content, indent=1).encode())


def _as_json(progress: ManifestState) -> dict[str, Any]:
    unfinished = progress.running or progress.waiting or progress.retry
    return {"handled": progress.handled.isoformat()} | (
        {}
        if unfinished is None
        else {
            "unfinished": {
                "scheduled_at": unfinished.scheduled_at.isoformat(),
                "catch_up": unfinished.catch_up,
                "attempt": unfinished.attempt,
            }
        }
    )


def _progress(manifest: str, content: dict[str, Any]) -> ManifestState:
    unfinished = content.get("unfinished")
    start = unfinished and Start(
        _time(unfinished["scheduled_at"]), manifest, int(unfinished["catch_up"]), int(unfinished["attempt"])
    )
    return ManifestState(_time(content["handled"]), waiting=start or None)


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment
