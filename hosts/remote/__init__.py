"""How a host is reached, asked and changed."""
