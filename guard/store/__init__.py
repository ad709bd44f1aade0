"""What remembers: Redis, its keys, its scripts, and the embedded server."""
