"""Fan-out of commands over a list: local processes, job arrays of SLURM, tasks of Ray."""
