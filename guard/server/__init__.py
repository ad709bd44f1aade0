"""What `guard serve` adds: connections of clients, workers, probes and the metrics port."""
