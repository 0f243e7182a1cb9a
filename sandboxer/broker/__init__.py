"""The broker: a small process outside the box that opens things for it, by rule."""
