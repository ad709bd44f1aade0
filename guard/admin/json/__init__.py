"""What the operator asks for, as plain JSON: for `--json`, and for whoever else wants data.

Each value has a `TypedDict`, which says what fields it has, and a function that makes one. Times are in ISO
8601 and UTC, spans in seconds, weights in decibans, costs in micro-dollars; what does not apply is `null`.
"""
