"""Measurements, each beside its floor: what the same work costs by the shortest script that does
it.

Nothing here is shipped. ``make bench`` runs every module that has ``rows`` and writes what it found
to the table in ``docs/performance.md``.
"""
