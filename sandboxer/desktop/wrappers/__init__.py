"""Desktop entries, D-Bus service files and PATH shims that start applications in their boxes, and their ledger."""
