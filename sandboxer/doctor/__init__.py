"""Doctor: what of this machine and session the sandbox needs, tried out; what is missing, why, and how to get it."""
