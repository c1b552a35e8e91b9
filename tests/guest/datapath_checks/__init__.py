"""Checks of every AF_ALG mode of the datapath program, and of so_crypt's where the module is loaded, in a guest.

Standard library, `openssl` and `strace` only: ``DATAPATH=datapath python3 -m unittest datapath_checks.transfers`` and
so on. Cipher text is compared with OpenSSL's, the JSON accounting with the model (traditional: four crossings and three
copies per byte; the schemes: none), and the counted calls with those that strace saw. What raw must not let pass (a
wrong tag, answers that differ, none at all) is made by strace too: it tampers with memory and results.
"""
