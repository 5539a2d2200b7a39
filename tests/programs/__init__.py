"""Programs that tests start, kill and watch, and what both sides need for that."""
