"""Errors, values, paths, tasks and HTTP: everything that does not depend on running jobs."""
