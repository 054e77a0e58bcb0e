"""Divided plans: runs of shards on several machines, without a database, and their merge into one
run directory.
"""
