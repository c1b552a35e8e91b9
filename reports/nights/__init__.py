"""What many runs say: an index of them, series over the nights, where those changed, and what a night tells of it."""
