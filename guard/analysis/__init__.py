"""What runs in the backend's shadow: work that nobody has to wait for."""
