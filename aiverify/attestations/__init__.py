"""Our own results as signed statements, and when somebody else's is taken for an examination of one's own."""
