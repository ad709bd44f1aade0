"""One request and its answer, between an ASGI server and an app."""
