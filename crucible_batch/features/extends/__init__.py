"""Extends: a manifest that takes what it doesn't set from another file."""
