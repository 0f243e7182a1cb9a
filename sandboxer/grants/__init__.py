"""One module per permission: Effective policy + Host → Grants."""
