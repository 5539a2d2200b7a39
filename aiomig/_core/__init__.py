"""Values, errors and small machinery. Knows nothing of running jobs."""
