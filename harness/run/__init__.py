"""One run of a profile, suite by suite."""
