"""Buys rejected outputs again."""
