"""Several holders: whose answers come back from whom, and who belongs together."""
