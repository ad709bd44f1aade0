"""What a text says, whatever it is written in."""
