"""Other processes that share the work of a study: on this machine, on Slurm, on Ray."""
