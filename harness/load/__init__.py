"""Many connections at once: the generator of their requests, and what its counts say."""
