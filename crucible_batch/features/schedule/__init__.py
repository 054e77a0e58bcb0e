"""Scheduled runs: the next times of manifests, and files for schedulers.

``find_schedules`` reads the manifests of a folder. ``export`` writes files for cron, systemd,
Kubernetes and GitHub Actions. Nothing here needs a gateway or an API key.
"""
