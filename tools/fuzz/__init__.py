"""The fault budget: mutants of every kind of input, and kills, full disks and repeats of the commands."""
