"""Experiments: many trainings or timings, compared. `bench` has how fast this machine trains."""
