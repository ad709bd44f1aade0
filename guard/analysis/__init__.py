"""What a query says and what it is after: worked out in the shadow of the backend's latency."""
