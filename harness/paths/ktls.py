"""``ktls``: TLS records made by the kernel, so that sendfile works again (the scheme's closest mainline relative).

The kernel's TLS protocol has only AEAD ciphers (linux/tls.h: AES-GCM, AES-CCM, ChaCha20-Poly1305, SM4, ARIA), so
no cipher of the table can take this path yet; it stands in the results with that reason.
"""

from __future__ import annotations

from harness.bench import Bench
from harness.ceiling import Step
from harness.ciphers import Cipher
from harness.paths import Deployed
from hosts.errors import HarnessError
from hosts.facts import Facts


class Ktls:
    name = "ktls"
    title = "Kernel TLS + sendfile"
    clear = False
    builds: tuple[str, ...] = ()
    steps: tuple[Step, ...] | None = None

    def unsupported(self, cipher: Cipher | None, driver: str, sender: Facts, receiver: Facts) -> str | None:
        title = cipher.title if cipher else "no cipher"
        return (
            f"the kernel's TLS has no {title}: linux/tls.h lists AEAD ciphers only, and OpenSSL would fall back to "
            "user space without a word"
        )

    def deploy(self, bench: Bench, cipher: Cipher | None, driver: str) -> Deployed:
        raise HarnessError("no cipher of the table can take kernel TLS")


PATH = Ktls()
