"""Deletes outputs of old runs."""
