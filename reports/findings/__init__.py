"""What the record of one run says, without drawing it: one module for each question."""
