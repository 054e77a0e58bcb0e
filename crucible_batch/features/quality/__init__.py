"""Checks the pictures that a run saves: blank, duplicate, too small, or as a program decides.

The command ``check``, which compares a run directory with the ledger and the disk, is another
feature.
"""
