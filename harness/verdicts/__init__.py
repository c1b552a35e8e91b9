"""Pure: from samples to verdicts."""
