"""Places that artifacts come from."""
