"""Pure parts: no host, no root."""
