"""Grants → Plan → bytes, and the cache that holds them."""
