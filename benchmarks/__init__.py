"""Benchmarks of the harness itself: what its verdicts are worth. Not run by the tests."""
