"""Remembers prices of the account."""
