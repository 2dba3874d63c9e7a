"""Cascade stages as Slurm jobs that survive what clusters do to jobs."""
