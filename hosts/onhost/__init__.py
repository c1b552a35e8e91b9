"""All that runs on a measured machine, and nothing else."""
