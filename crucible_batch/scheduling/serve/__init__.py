"""A scheduler in the foreground, which starts ``crucible-batch run`` at the times of manifests."""
