"""How guard reaches Redis: one server, Sentinel or a cluster."""
