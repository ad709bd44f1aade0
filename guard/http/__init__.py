"""What the head of a request says, and what of it goes on."""
