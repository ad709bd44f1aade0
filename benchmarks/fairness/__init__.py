"""What other callers notice while one sends what costs a server much."""
