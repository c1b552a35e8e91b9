"""What measures: raw, its requests under way together, costs, and what they refuse."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Any

from .common import DEADLINE, PROGRAM, RAW, Case, answer, refusal


@dataclass(frozen=True)
class Kind:
    """What a cipher is to the commands that measure: its AF_ALG type, the key sizes it takes, AAD that fits."""

    name: str
    type: str
    keys: tuple[int, ...]
    aad: int = 0
    optional: bool = False  # the lab's own kernel does without


KINDS = (
    Kind("cbc(aes)", "skcipher", (16, 24, 32)),
    Kind("cbc(des3_ede)", "skcipher", (24,)),
    Kind("ecb(cipher_null)", "skcipher", (0,)),
    Kind("gcm(aes)", "aead", (16, 24, 32), 13),
    Kind("rfc4106(gcm(aes))", "aead", (20, 28, 36), 16),
    Kind("rfc7539(chacha20,poly1305)", "aead", (32,), 5),
    Kind("ccm(aes)", "aead", (16, 24, 32), 64, optional=True),
    Kind("authenc(hmac(sha1),cbc(aes))", "aead", (16, 24, 32), 8),
)
BOTH = ("encrypt", "decrypt")


class Measuring(Case):
    """What raw, probe and costs say of ciphers."""

    def raw(
        self, kind: Kind, *options: str, depth: int = 1, size: int = 4096, ops: tuple[str, ...] = ("decrypt",)
    ) -> dict[str, Any]:
        """To decrypt it has to encrypt once, too. The figures agree with each other. The JSON of the last one."""
        found = {}
        for op in ops:
            argv = [PROGRAM, *RAW, str(size), "--op", op, "--cipher", kind.name, "--aad", str(kind.aad), *options]
            found = answer(*argv, "--depth", str(depth))[0]
            what = " ".join(argv)
            told = {"type": kind.type, "op": op, "size": size, "aad": kind.aad, "depth": depth, "consistent": True}
            for field, wanted in told.items():
                self.assertEqual(found[field], wanted, f"{what}: {field}")
            self.assertEqual(found["operations"], found["batch"] * found["batches"], f"{what}: operations")
            self.assertEqual(found["bytes"], found["operations"] * size, f"{what}: bytes")
            self.assertEqual(found["batch"], 16 * depth if depth > 1 else 1, f"{what}: batch")
            for rate, of in (("operations_per_second", "operations"), ("bytes_per_second", "bytes")):
                self.assertTrue(abs(found[rate] * found["seconds"] / found[of] - 1) < 1e-6, f"{what}: {rate}")
            mean = found["seconds"] * 1e9 / found["operations"]
            self.assertTrue(0 < found["min_ns_per_operation"] <= mean * (1 + 1e-6), f"{what}: fastest batch")
        return found

    def test_kinds(self) -> None:
        """Every key size of every cipher; without one the largest; sizes that do not exist are refused."""
        for kind in KINDS:
            probed = answer(PROGRAM, "probe", "--cipher", kind.name, "--aad", str(kind.aad))[1]
            if kind.optional and "no such algorithm" in probed.get("reason", ""):
                continue
            self.assertTrue(probed["available"], f"probe {kind.name}: {probed.get('reason')}")
            sizes = [probed[field] for field in ("type", "min_key_bytes", "max_key_bytes", "key_bytes")]
            self.assertEqual(
                sizes, [kind.type, kind.keys[0], kind.keys[-1], kind.keys[-1]], f"probe {kind.name}: type and key sizes"
            )
            self.assertEqual(self.raw(kind, ops=BOTH)["key_bytes"], kind.keys[-1], f"{kind.name}: largest key")
            for size in kind.keys:
                found = self.raw(kind, "--key-bytes", str(size))
                self.assertEqual(found["key_bytes"], size, f"{kind.name}: key bytes")
            synchronous = self.raw(kind, depth=3)
            self.assertLess(synchronous["sleeps_per_operation"], 0.01, f"{kind.name}: sleeps with a synchronous driver")
            for size in {kind.keys[0] - 1, kind.keys[0] + 1, kind.keys[-1] + 1} - {-1}:
                argv = [PROGRAM, *RAW, "4096", "--op", "encrypt", "--cipher", kind.name, "--aad", str(kind.aad)]
                refusal(2, f"--key-bytes {size}: ", *argv, "--key-bytes", str(size))
        self.raw(KINDS[3], size=1)
        self.raw(KINDS[3], depth=64, size=131072)

    def test_kinds_by_devcrypto(self) -> None:
        """The module finds what AF_ALG finds, and both give the same measurements; copied and mapped."""
        by = ("--interface", "devcrypto")
        for kind in KINDS:
            argv = [PROGRAM, "probe", "--cipher", kind.name, "--aad", str(kind.aad)]
            both = answer(*argv)[1], answer(*argv, *by)[1]
            if kind.optional and not both[0]["available"]:
                continue
            for field in ("type", "driver", "async", "block_bytes", "iv_bytes", "min_key_bytes", "max_key_bytes"):
                self.assertEqual(both[0][field], both[1].get(field), f"probe {kind.name}: {field}")
            for how in ((), ("--mapped",)):
                found = self.raw(kind, *by, *how, ops=BOTH)
                memory = "mapped" if how else "copied"
                self.assertEqual((found["interface"], found["memory"]), ("/dev/crypto", memory), kind.name)
                self.assertEqual(found["driver"], both[0]["driver"], kind.name)
                counted = found["session_requests"] - found["operations"]
                self.assertEqual(counted, 2, f"{kind.name}: one that warms up, one that makes what is deciphered")
                self.assertEqual(found["later_per_operation"], 0, f"{kind.name}: a synchronous driver")
            synchronous = self.raw(kind, *by, depth=3)
            self.assertEqual(synchronous["submission"], "threads", f"{kind.name}: nothing is queued")
        self.raw(KINDS[0], *by, size=131072, ops=BOTH)

    def test_costs_by_devcrypto(self) -> None:
        own = {"devcrypto_copy", "devcrypto_map", "devcrypto_cipher"}
        common = {"clock", "syscall", "read", "tcp_send", "tcp_sendfile", "count"}
        for cipher, chunk in (("cbc(aes)", 65536), ("ecb(cipher_null)", 65536), ("gcm(aes)", 16384)):
            argv = [PROGRAM, "costs", "--cipher", cipher, "--seconds", "0.3", "--interface", "devcrypto"]
            _, *lines = answer(*argv)
            self.assertEqual({line["what"] for line in lines}, common | own, f"costs {cipher}: prices")
            found = {line["what"]: line for line in lines}
            self.assertEqual(found["devcrypto_cipher"]["large"]["bytes"], chunk, f"costs {cipher}: sizes")
            if "null" not in cipher:
                idle, busy = (found[what]["large"]["min_ns"] for what in ("devcrypto_map", "devcrypto_cipher"))
                self.assertGreater(busy, idle, f"costs {cipher}: a cipher costs something")
            both = answer(*argv, "--interface", "af_alg")[1:]
            alg = {"alg_send", "alg_sendfile", "alg_recv"}
            self.assertEqual({line["what"] for line in both}, common | own | alg, f"costs {cipher}: by both")
        _, *lines = answer(PROGRAM, "costs", "--seconds", "0.2")
        self.assertEqual({line["what"] for line in lines}, common, "costs without a cipher")

    def test_costs(self) -> None:
        prices = {"clock", "syscall", "read", "tcp_send", "tcp_sendfile", "alg_send", "alg_sendfile", "alg_recv"}
        prices |= {"count"}
        for cipher, key, aad, chunk in (
            ("cbc(aes)", 16, 0, 65536),
            ("ecb(cipher_null)", 0, 0, 65536),
            ("gcm(aes)", 16, 5, 16384),
        ):
            argv = [PROGRAM, "costs", "--cipher", cipher, "--key-bytes", str(key), "--aad", str(aad)]
            head, *lines = answer(*argv, "--seconds", "0.3")
            self.assertEqual(
                (head["key_bytes"], head["aad"], head["chunk"]), (key, aad, chunk), f"costs {cipher}: head"
            )
            self.assertEqual({line["key_bytes"] for line in lines}, {key}, f"costs {cipher}: key sizes")
            self.assertEqual({line["what"] for line in lines}, prices, f"costs {cipher}: prices")
            recv = next(line for line in lines if line["what"] == "alg_recv")
            self.assertEqual((recv["small"]["bytes"], recv["large"]["bytes"]), (1024, chunk), f"costs {cipher}: sizes")

    def test_refusals(self) -> None:
        def raw(status: int, text: str, cipher: str, size: str, *options: str) -> None:
            refusal(status, text, PROGRAM, *RAW, size, "--op", "decrypt", "--cipher", cipher, *options)

        raw(2, "no multiple", "cbc(aes)", "4095")
        raw(2, "is no AEAD", "cbc(aes)", "4096", "--aad", "8")
        raw(2, "--batch 7", "cbc(aes)", "4096", "--depth", "8", "--batch", "7")
        raw(1, "Invalid argument", "rfc4106(gcm(aes))", "4096", "--aad", "15")  # the kernel wants 16 or 20 there
        raw(1, "no such algorithm", "gcm(nonsense)", "4096")
        by = ("--interface", "devcrypto")
        raw(2, "no multiple", "cbc(aes)", "4095", *by)
        raw(2, "is no AEAD", "cbc(aes)", "4096", "--aad", "8", *by)
        raw(1, "EINVAL", "rfc4106(gcm(aes))", "4096", "--aad", "15", *by)
        raw(1, "no such algorithm", "gcm(nonsense)", "4096", *by)
        raw(2, "--mapped is for", "cbc(aes)", "4096", "--mapped")
        raw(2, "one --interface", "cbc(aes)", "4096", *by, "--interface", "af_alg")
        raw(2, "wanted af_alg or devcrypto", "cbc(aes)", "4096", "--interface", "x")
        refusal(2, "are for a --cipher", PROGRAM, "costs", *by)
        refusal(2, "is no AEAD", PROGRAM, "costs", "--cipher", "cbc(aes)", "--aad", "8")
        for command in ("costs", "probe"):
            for size in ("15", "17"):
                refusal(2, f"--key-bytes {size}: ", PROGRAM, command, "--cipher", "gcm(aes)", "--key-bytes", size)

    def test_depth(self) -> None:
        """With an asynchronous driver requests are under way together, and their threads sleep; on every kernel."""
        subprocess.run(["modprobe", "cryptd"], check=True, timeout=DEADLINE)
        try:
            for kind in (KINDS[0], KINDS[3]):
                driver = answer(PROGRAM, "probe", "--cipher", kind.name)[1]["driver"]
                wrapped = Kind(f"cryptd({driver})", kind.type, kind.keys, kind.aad)
                probed = answer(PROGRAM, "probe", "--cipher", wrapped.name, "--aad", str(kind.aad))[1]
                self.assertTrue(probed.get("async"), f"{wrapped.name}: {probed.get('reason')}")
                self.raw(wrapped)
                found = self.raw(wrapped, depth=16, size=65536, ops=BOTH)
                self.assertTrue(
                    2 <= found["under_way"] <= 16, f"{wrapped.name}: {found['under_way']} under way together"
                )
                sleeps = found["sleeps_per_operation"]
                self.assertTrue(0.5 < sleeps < 4, f"{wrapped.name}: {sleeps} sleeps of a request's thread")
                found = self.raw(wrapped, "--interface", "devcrypto", depth=16, size=65536, ops=BOTH)
                how = "threads" if kind.type == "aead" else "asynchronous"
                self.assertEqual(found["submission"], how, f"{wrapped.name}: by /dev/crypto")
                self.assertTrue(2 <= found["under_way"] <= 16, f"{wrapped.name}: {found['under_way']} by /dev/crypto")
                self.assertGreater(found["later_per_operation"], 0.5, f"{wrapped.name}: answered later")
        finally:  # it outranks what it wraps: cbc(aes) would be cryptd's from now on
            subprocess.run(["modprobe", "-r", "cryptd"], check=True, timeout=DEADLINE)
