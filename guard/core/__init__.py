"""What decides: no I/O, no clock, no randomness, no logging."""
