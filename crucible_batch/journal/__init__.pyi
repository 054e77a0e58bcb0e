from crucible_batch.journal.binding import Binding as Binding
from crucible_batch.journal.binding import journals_beside as journals_beside
from crucible_batch.journal.lock import is_locked as is_locked
from crucible_batch.journal.lock import lock_run_directory as lock_run_directory
from crucible_batch.journal.plan_file import PlanFile as PlanFile
from crucible_batch.journal.store import Journal as Journal
from crucible_batch.journal.store import RunRecord as RunRecord
