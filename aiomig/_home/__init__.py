"""Files and message queues in the user's MiG home, for both modes."""
