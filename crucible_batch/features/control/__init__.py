"""Gives commands to active runs."""
