"""The artifact as a whole: findings that need more than one file."""
