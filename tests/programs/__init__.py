"""Programs that tests start, kill and watch, and the helpers of both sides."""
