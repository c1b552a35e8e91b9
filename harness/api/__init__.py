"""All that a data path's file may import: its contract, where it deploys, what is asked of it, its steps."""
