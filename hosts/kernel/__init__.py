"""The kernel module so_crypt, and what builds it for a kernel."""
