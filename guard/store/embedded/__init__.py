"""A redis-server of guard's own, and the pepper beside its data."""
