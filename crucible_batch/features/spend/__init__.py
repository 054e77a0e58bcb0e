"""What all runs have spent, by month, workflow or tag."""
