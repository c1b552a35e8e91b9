"""Figures and tables as plain data, for pages to hold."""
