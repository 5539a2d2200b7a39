"""The services of a grid other than jobs and files, one per module."""
