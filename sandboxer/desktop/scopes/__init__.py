"""The user's scope service: what the launcher asks it for, and what it asks the user manager for."""
