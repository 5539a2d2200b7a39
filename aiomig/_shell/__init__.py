"""Bash scripts and processes of this machine."""
