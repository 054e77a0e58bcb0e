"""What assets and jobs stand on together: settings, chance, money, and the list of what has changed."""

from dataclasses import dataclass

from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.faults import Faults
from crucible_batch.sandbox.ids import Ids
from crucible_batch.sandbox.ledger import Ledger
from crucible_batch.sandbox.records import Record


@dataclass(frozen=True, slots=True)
class Ground:
    """Shared by the parts of one world; `changes` grows by each record that is made or replaced."""

    config: SandboxConfig
    faults: Faults
    ids: Ids
    ledger: Ledger
    changes: list[Record]
    began: float
    """When this world began, or was started again."""
