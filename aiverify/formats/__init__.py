"""What a file is, and what it could do if a loader opened it."""
