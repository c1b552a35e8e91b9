"""Pages, and the folder of static files that they are in."""
