"""Indicators as bundles of STIX 2.1, which other operators read: names, bundle (ours), received (theirs)."""
