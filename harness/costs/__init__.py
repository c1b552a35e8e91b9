"""What steps cost, and the ratio that these prices predict."""
