"""From an opened testbed to one sample: the link, a transfer with its counters, its crossings."""
