"""Divided plans: runs of shards on several machines, and their merge into one run directory.

There is no database.
"""
