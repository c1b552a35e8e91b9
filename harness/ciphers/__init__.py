"""Ciphers by all their names, their published answers, and the kernel's drivers for them."""
