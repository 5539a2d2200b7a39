"""Parsers of the responses of a MiG server. No I/O."""
