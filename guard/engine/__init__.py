"""One request after the other: decide on it, keep its books, and do without the store."""
