"""A stand-in for upstream: its signatures and its defects, without torch and without weights."""
