"""A run on many processes or machines: its shards are started, followed and merged, as long as any
job fits the budget.

What decides who may buy is the log of each shard (``runs/journal_log.py``). What starts
processes only saves time: that two have the same shard is harmless.
"""
