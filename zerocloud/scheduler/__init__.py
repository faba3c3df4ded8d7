"""The proxy's side of a job, one file per step (controller tells all)."""
