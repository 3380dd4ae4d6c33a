"""Runs what a plan declares: commands as processes, each as soon as it is ready."""
