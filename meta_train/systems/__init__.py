"""Unrolled systems, one file each."""
