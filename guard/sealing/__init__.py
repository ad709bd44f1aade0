"""Reasoning that leaves encrypted, and that the backend gets again when the client sends it back.

    seal.py       a blob: how it is written and opened
    prefix.py     what comes before a turn of the model, as a digest
    thoughts.py   whom a blob is for, and whether it belongs where it came back

Where blobs stand in each API is in `guard.dialects.sealing` and `guard.dialects.hiding`.
"""
