"""What a MiG server answers, parsed. No I/O."""
