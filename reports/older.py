"""How paths, prices and labs were called, and which steps paths took, before records said it themselves: frozen.

Looked up only for records without ``paths``, ``suites[].steps``, ``suites[].taken`` or ``testbed.label``. Nothing is
added here: a new path says its words and its steps.
"""

from __future__ import annotations

from harness.api.steps import Step, Steps
from harness.api.words import Words

PATHS = {
    "afalg-copy": Words(
        "the traditional scheme: AF_ALG with copies", baseline="the traditional scheme", model="traditional"),
    "afalg-splice": Words(
        "the scheme with mainline calls: AF_ALG with splice", "Taking the data off user space (afalg-splice)",
        "AF_ALG with splice", order=20, model="scheme"),
    "http": Words("plain HTTP, sendfile", "Not encrypting at all (http)", baseline="plain HTTP", model="scheme"),
    "https": Words(
        "TLS in user space", "Encrypting with TLS in user space (https)", "HTTPS", "TLS in user space", 50, 0),
    "https-qat": Words(
        "TLS in user space, by Intel's QAT engine",
        "Encrypting TLS in user space by the QAT engine (https-qat)", "HTTPS on QAT"),
    "ipsec": Words(
        "HTTP over IPsec (ESP)", "Encrypting below TCP with IPsec (ipsec)", "IPsec", order=40, model="scheme"),
    "ktls": Words(
        "kernel TLS, sendfile", "Encrypting TLS in the kernel and taking the data off user space (ktls)",
        "kernel TLS", order=30, model="scheme"),
    "ktls-write": Words(
        "kernel TLS, write", "Encrypting TLS in the kernel but still writing from user space (ktls-write)",
        "kernel TLS with write", order=70),
    "plain": Words(
        "no encryption, sendfile", "Not encrypting at all (plain)", baseline="plain sendfile", model="scheme"),
    "so-crypt": Words(
        "the scheme itself: sendfile on a SO_CRYPT socket", "Taking the data off user space (so-crypt)",
        "SO_CRYPT", order=10, model="scheme"),
    "so-crypt-send": Words(
        "ablation: read and send on a SO_CRYPT socket",
        "Encrypting in the socket but still reading through user space (so-crypt-send)",
        "SO_CRYPT with read and send", order=60),
    "raw-encrypt": Words("kernel cryptography alone: enciphering through AF_ALG"),
    "raw-decrypt": Words("kernel cryptography alone: deciphering through AF_ALG"),
    "openssl-speed": Words("cryptography in user space alone: openssl speed"),
}  # fmt: skip
TESTBEDS = {
    "uml": (
        "emulated",
        "Emulated: both hosts are User Mode Linux kernels on one machine, where a system call costs many times "
        "what it costs on hardware and no crypto card exists; so the gain from saved crossings comes out too large, "
        "and absolute rates too low.",
    ),
    "qemu": (
        "emulated",
        "Emulated: both hosts run on QEMU's software processor, whose instructions and crypto card cost unlike "
        "any real ones and drift from boot to boot; read ratios within this run, never absolute rates.",
    ),
}
"""A lab's label and caveat, by its kind."""
STEPS = {
    "syscall": "the cheapest system call",
    "read": "read from the page cache",
    "alg_send": "send to AF_ALG",
    "alg_sendfile": "sendfile to AF_ALG",
    "cipher": "recv from AF_ALG: the cipher",
    "tcp_copy": "send to TCP, beyond sendfile",
    "kernel_cipher": "the cipher, called within the kernel",
    "openssl": "a TLS record by OpenSSL",
    "openssl_qat": "a TLS record by OpenSSL's QAT engine",
    "gnutls": "a TLS record by GnuTLS",
    "receiver_gnutls": "a TLS record by the receiver's GnuTLS",
    "esp": "a packet by ESP: cipher and integrity",
    "receiver_esp": "a packet by the receiver's ESP",
}
TAKEN = {
    "afalg-copy": Steps(sender=(Step("read"), Step("alg_send"), Step("cipher"), Step("tcp_copy"))),
    "afalg-splice": Steps(sender=(Step("alg_sendfile"), Step("cipher"), Step("syscall"))),
    "so-crypt-send": Steps(sender=(Step("read"), Step("tcp_copy"), Step("kernel_cipher"))),
    "so-crypt": Steps(sender=(Step("kernel_cipher"),)),
    "plain": Steps(),
}
CIPHERING = frozenset({"cipher", "kernel_cipher"})
