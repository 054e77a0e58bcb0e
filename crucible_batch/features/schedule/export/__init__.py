"""Files that make other schedulers run manifests: cron, systemd, Kubernetes, GitHub Actions."""
