"""Tests that need a guest of their own."""
