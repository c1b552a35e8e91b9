"""Many testbeds in one night: what runs where, and how it gets there and home, on Dask distributed."""
