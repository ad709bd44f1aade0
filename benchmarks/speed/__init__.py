"""What guard costs a request, beside its peers: `python -m benchmarks.speed`, which `make bench` runs."""
