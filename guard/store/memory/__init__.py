"""The store of one process that nobody else counts with."""
