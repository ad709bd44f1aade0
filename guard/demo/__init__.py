"""A small model to try guard on, and traffic for it."""
