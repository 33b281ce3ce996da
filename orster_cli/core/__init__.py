"""Shared types, errors, limits on untrusted input, seeds, devices and kernel declarations."""
