"""Labs: testbeds that the harness boots on this machine, and that leave no trace."""
