"""The analyst: reads what was asked and answered, beside the requests; says what it pays out and shows."""
