"""Tells others over HTTP what has happened: beside the requests, signed, again where that may help."""
