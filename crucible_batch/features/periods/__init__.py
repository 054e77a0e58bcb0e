"""Accounts: the budgets of periods that several runs share, one SQLite file for each."""

from crucible_batch.features.periods.account import BudgetAccount, account_file, account_files
from crucible_batch.features.periods.active_runs import is_active, noted_as_active
from crucible_batch.features.periods.records import (
    AccountShare,
    AccountTerms,
    AllowanceRequest,
    Grant,
    RunUsage,
)
