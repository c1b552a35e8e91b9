"""Debian's packages, images and kernel sources."""
