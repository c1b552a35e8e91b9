"""What runs on a host: standard library only, sent over as one zip file."""
