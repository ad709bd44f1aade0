"""What is told about each request: to the log, to hooks, to Prometheus."""
