"""The user's MiG home: files and message queues, the same in both modes."""
