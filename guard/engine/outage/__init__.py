"""Without the store: whether to ask it, what to admit alone, and what to charge later."""
