"""Cipher text of raw, and faults that it must not let pass."""

from __future__ import annotations

import json
import re
import subprocess

from .common import DEADLINE, PROGRAM, RAW, Case, refusal

TAMPER = "poke_exit=@arg2=000102030405060708"


class Faults(Case):
    """strace shows what raw asks of the kernel, and makes it go wrong."""

    def test_cipher_text_is_openssl_s(self) -> None:
        """strace sees key, IV and answer of raw; OpenSSL makes the same of these. GCM is CTR from block 2."""
        for name, aad, key_bytes, openssl, iv_bytes, count in (
            ("cbc(aes)", 0, 16, "aes-128-cbc", 16, ""),
            ("cbc(aes)", 0, 32, "aes-256-cbc", 16, ""),
            ("gcm(aes)", 13, 16, "aes-128-ctr", 12, "00000002"),
        ):
            argv = [PROGRAM, *RAW, "32", "--op", "encrypt", "--cipher", name, "--key-bytes", str(key_bytes)]
            traced = ["strace", "-qq", "-xx", "-s", "256", "-e", "trace=getrandom,setsockopt,recvfrom", *argv]
            traced += ["--aad", str(aad)]
            done = subprocess.run(traced, capture_output=True, text=True, timeout=DEADLINE, check=True)
            seen = done.stderr.replace("\\x", "")
            key = re.findall(r'ALG_SET_KEY, "(\w*)", \d+\) = 0', seen)[-1]
            iv = re.findall(r'getrandom\("(\w*)", 64, 0\) = 64', seen)[-1][: 2 * iv_bytes]
            told = re.findall(r'recvfrom\(\d+, "(\w*)"', seen)[0]
            made = ["openssl", "enc", f"-{openssl}", "-K", key, "-iv", iv + count, "-nopad"]
            wanted = subprocess.run(made, input=b"U" * 32, check=True, capture_output=True, timeout=DEADLINE).stdout
            self.assertEqual(len(told) // 2, 32 + (aad + 16 if aad else 0), f"raw {name}: size of the answer")
            self.assertEqual(json.loads(done.stdout)["tag_bytes"], 16 if aad else 0, f"raw {name}: size of the tag")
            self.assertEqual(told[2 * aad : 2 * aad + 64], wanted.hex(), f"raw {name}, {key_bytes} bytes: cipher text")

    def test_what_goes_wrong_is_an_error_and_never_a_figure(self) -> None:
        def faults(text: str, made: dict[str, str], cipher: str, op: str, *options: str) -> None:
            traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={','.join(made)}"]
            traced += [word for call, fault in made.items() for word in ("-e", f"inject={call}:{fault}")]
            refusal(1, text, *traced, PROGRAM, *RAW, "4096", "--cipher", cipher, "--op", op, *options)

        def faulty(text: str, call: str, fault: str, cipher: str, op: str, *options: str) -> None:
            faults(text, {call: fault}, cipher, op, *options)

        deep = ("--depth", "4")
        faulty("the tag is wrong", "recvfrom", f"{TAMPER}:when=1", "gcm(aes)", "decrypt")
        faulty("the tag is wrong", "recvfrom", f"{TAMPER}:when=1", "gcm(aes)", "decrypt", *deep)
        faulty("results differ", "recvfrom", f"{TAMPER}:when=2+", "cbc(aes)", "encrypt")
        faulty("results differ", "recvfrom", f"{TAMPER}:when=1", "cbc(aes)", "decrypt", *deep)
        faulty("no answer in time", "recvfrom", "error=EINTR:when=3", "cbc(aes)", "encrypt")
        faulty("answer: Input/output error", "recvfrom", "error=EIO:when=3", "cbc(aes)", "encrypt", *deep)
        faulty("send: Resource temporarily", "sendmsg", "error=EAGAIN:when=2", "cbc(aes)", "encrypt", *deep)
        faulty("thread 1: Resource temporarily", "clone,?clone3", "error=EAGAIN", "cbc(aes)", "encrypt", *deep)
        # nobody is answered for three seconds, and the wait of sixty is over at once
        stalled = {"ppoll": "retval=0", "recvfrom": "delay_enter=3000000"}
        faults("none was answered within 60 s", stalled, "cbc(aes)", "encrypt", *deep)
