"""Tests that need the lab's two hosts."""
