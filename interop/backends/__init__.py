"""What stands behind guard."""
