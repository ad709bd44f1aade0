"""What each page asks of the operator; its answer is all that it shows, as JSON."""
