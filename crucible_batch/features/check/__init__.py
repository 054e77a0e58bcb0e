"""Checks outputs and the ledger."""
