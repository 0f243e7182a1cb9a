"""sandboxer: an application sandbox for the Linux desktop."""

__version__ = "0.1.0"
