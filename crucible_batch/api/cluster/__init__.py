"""Runs on a cluster: the coordinator divides and merges a run, and workers claim its shards from a database."""
