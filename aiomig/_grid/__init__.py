"""The grid backend: a MiG server over HTTPS."""
