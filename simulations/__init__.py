"""How fast the harness's own programs are, how often its rules are wrong, what they resolve: scripts to run by hand."""
