"""How fast the harness's own programs are, and how often its rules are wrong: scripts to run by hand."""
