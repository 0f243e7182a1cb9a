"""The steward: what the user's commands change about a running box, from outside."""
