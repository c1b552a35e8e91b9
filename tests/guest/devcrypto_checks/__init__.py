"""Checks of the kernel module devcrypto, run as root inside a throw-away guest.

Needs python3 and OpenSSL's libcrypto, nothing else: ``DEVCRYPTO_MODULE=devcrypto.ko DELAYED_MODULE=delayed.ko
python3 -m unittest guest.devcrypto_checks.answers`` and so on.
"""
