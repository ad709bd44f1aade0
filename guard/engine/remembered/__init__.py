"""What one process remembers of callers, for a while and up to a number."""
