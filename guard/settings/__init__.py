"""What the operator sets: guard.toml and the environment, checked, and turned into what decides."""
