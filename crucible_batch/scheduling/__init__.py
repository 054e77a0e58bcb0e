"""Scheduled runs: the next times of manifests, units for other schedulers, and a scheduler of our own.

``find_schedules`` reads the manifests of a folder. ``export`` writes files for cron, systemd, Kubernetes and GitHub
Actions, and ``serve`` starts runs at their times. Nothing here needs a gateway or an API key.
"""
