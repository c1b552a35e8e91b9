"""Tests of what runs on hosts, in userlands of older distributions."""
