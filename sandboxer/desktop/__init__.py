"""The desktop around the boxes: the session bus, scopes and limits, wrappers, units, notifications."""
