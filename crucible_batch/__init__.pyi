from crucible_batch.api import AuditResult as AuditResult
from crucible_batch.api import Observer as Observer
from crucible_batch.api import PlanSummary as PlanSummary
from crucible_batch.api import RunResult as RunResult
from crucible_batch.api import audit as audit
from crucible_batch.api import clean_assets as clean_assets
from crucible_batch.api import connect as connect
from crucible_batch.api import plan as plan
from crucible_batch.api import read_status as read_status
from crucible_batch.api import run as run
from crucible_batch.api import validate as validate
from crucible_batch.api import verify as verify
from crucible_batch.errors import CrucibleBatchError as CrucibleBatchError
from crucible_batch.errors import ExitCode as ExitCode
from crucible_batch.errors import GatewayError as GatewayError
from crucible_batch.errors import KeyRefusedError as KeyRefusedError
from crucible_batch.errors import ManifestError as ManifestError
from crucible_batch.errors import StalePlanError as StalePlanError
from crucible_batch.errors import UserError as UserError
from crucible_batch.gateway import CrucibleClient as CrucibleClient
from crucible_batch.gateway import RetryPolicy as RetryPolicy

__version__: str
