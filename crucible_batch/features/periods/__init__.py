"""Budgets of periods that several runs share: accounts in SQLite files, one for each."""
