"""The arguments that ``run`` and ``plan`` have in common."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any

import httpx

from crucible_batch.core.run_options import ManifestOptions, PlanningOptions
from crucible_batch.features import found
from crucible_batch.runs.draft import ManifestInput, path_of
from crucible_batch.runs.keywords import OfFeature, values_of
from crucible_batch.runs.request import RunRequest, planned
from crucible_batch.settings import Settings


@dataclass(frozen=True)
class ManifestCall(PlanningOptions):
    """These arguments, beside the other options."""

    manifest: ManifestInput
    _: KW_ONLY
    first: Annotated[int | None, OfFeature("sample")] = None
    sample: Annotated[int | None, OfFeature("sample")] = None
    settings: Settings | None = None
    transport: httpx.AsyncBaseTransport | None = None

    def request(self, options: type[ManifestOptions], of_features: str, **more: Any) -> RunRequest:
        """Return the request, with the ``options`` and ``more`` fields. Raises ``UserError`` for
        the budget.

        ``of_features`` is the name of the modules with the options of features.
        """
        features = [module.Options for module in found(of_features)]
        return RunRequest(
            path_of(self.manifest),
            features=tuple(each(**values_of(self, each)) for each in features),
            **planned(self),
            **values_of(self, options),
            **more,
        )
