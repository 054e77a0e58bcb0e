"""The arguments that ``run`` and ``plan`` have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import httpx

from crucible_batch.core.run_options import FeatureOptions, ManifestOptions
from crucible_batch.features import found
from crucible_batch.runs.draft import ManifestInput, path_of
from crucible_batch.runs.keywords import values_of
from crucible_batch.runs.request import JobFilter, RunRequest, read_budget
from crucible_batch.settings import Settings


@dataclass(frozen=True)
class ManifestCall:
    """These arguments, beside the options."""

    manifest: ManifestInput
    _: KW_ONLY
    out_dir: str | Path | None = None
    run_id: str | None = None
    budget: Decimal | int | str | None = None
    retry_failed: bool = False
    only: Sequence[str] = ()
    variables: Mapping[str, str] | None = None
    settings: Settings | None = None
    transport: httpx.AsyncBaseTransport | None = None

    def request(self, options: type[ManifestOptions], of_features: str, **more: Any) -> RunRequest:
        """Return the request, with the ``options`` and ``more`` fields. Raises ``UserError`` for
        the budget.

        ``of_features`` is the name of the modules with the options of features.
        """
        out_dir = None
        if self.out_dir is not None:
            out_dir = Path(self.out_dir)
        return RunRequest(
            path_of(self.manifest),
            out_dir=out_dir,
            run_id=self.run_id,
            budget=read_budget(self.budget),
            job_filter=JobFilter(tuple(self.only), self.retry_failed),
            variables=self.variables or {},
            features=tuple(_given(self, module.Options) for module in found(of_features)),
            **values_of(self, options),
            **more,
        )


def _given(call: ManifestCall, options: type[FeatureOptions]) -> FeatureOptions:
    """Return the options of a feature, as far as they are arguments of the call."""
    names = [field.name for field in fields(cast("Any", options)) if hasattr(call, field.name)]
    return options(**{name: getattr(call, name) for name in names})
