"""Records of what was decided and ordered, which nobody can change unseen.

chain.py      appends to a chain, and trims it
verify.py     finds what was removed, changed, inserted, moved or cut off
records.py    what a record says of a decision, a failure, a hold or an act
recorder.py   a hook that records what was decided, in batches and beside the requests
"""
