"""Ways to say a report."""
