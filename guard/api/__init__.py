"""The operator's questions and orders over HTTP, for whoever has a token."""
