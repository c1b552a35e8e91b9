"""Checks of the kernel module so_crypt, run as root inside a throw-away guest, on the guest's loopback.

Needs python3 and OpenSSL's libcrypto, nothing else: ``SO_CRYPT_MODULE=so_crypt.ko python3 -m unittest
guest.so_crypt_checks.streams`` and so on. All of them take about a minute.
"""
