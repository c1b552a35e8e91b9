"""What checks in a guest share: OpenSSL's cipher text, refusals, the kernel's log."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = float(os.environ.get("GUEST_PATIENCE", "1"))
"""How many times as long as usual whatever is waited for may take."""
DELAYED_MODULE = os.environ.get("DELAYED_MODULE", "delayed.ko")
"""Drivers that answer later; their names are ``cbc-aes-delayed`` and ``ctr-aes-delayed``."""

BEGIN = "the checks of kernel modules begin"

crypto = ctypes.CDLL("libcrypto.so.3")
for _name in ("EVP_CIPHER_CTX_new", "EVP_get_cipherbyname", "OSSL_PROVIDER_load"):
    getattr(crypto, _name).restype = ctypes.c_void_p
for _provider in (b"default", b"legacy"):
    crypto.OSSL_PROVIDER_load(None, _provider)


def openssl(name: str, key: bytes, iv: bytes, data: bytes, *, decrypt: bool = False) -> bytes:
    """The reference: the whole of ``data`` at once by the cipher that OpenSSL calls ``name``, without padding."""
    algorithm = crypto.EVP_get_cipherbyname(name.encode())
    context = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    out, length = ctypes.create_string_buffer(len(data) + 32), ctypes.c_int()
    ok = algorithm and crypto.EVP_CipherInit_ex(
        context, ctypes.c_void_p(algorithm), None, key, iv or None, int(not decrypt)
    )
    crypto.EVP_CIPHER_CTX_set_padding(context, 0)
    ok = ok and crypto.EVP_CipherUpdate(context, out, ctypes.byref(length), data, len(data))
    crypto.EVP_CIPHER_CTX_free(context)
    if not ok or length.value != len(data):
        raise RuntimeError(f"OpenSSL cannot do {name}")
    return out.raw[: length.value]


def same(got: bytes, want: bytes, what: str) -> None:
    if got == want:
        return
    at = next((i for i, (a, b) in enumerate(zip(got, want, strict=False)) if a != b), min(len(got), len(want)))
    raise AssertionError(f"{what}: {len(got)} bytes, wanted {len(want)}, first difference at {at}")


def refused(code: int, call: Callable[[], object], what: str) -> None:
    try:
        call()
    except OSError as error:
        assert error.errno == code, f"{what}: {errno.errorcode.get(error.errno or 0)}, not {errno.errorcode[code]}"
        return
    raise AssertionError(f"{what}: accepted, not {errno.errorcode[code]}")


def load(path: str) -> None:
    subprocess.run(["insmod", path], check=True, capture_output=True)


def load_delayed() -> None:
    """The drivers that answer later, which the kernel has tried: since 6.13 it does not wait for that itself."""
    load(DELAYED_MODULE)

    def tried() -> bool:
        entries = [one for one in Path("/proc/crypto").read_text().split("\n\n") if "-aes-delayed\n" in one]
        return len(entries) == 2 and all(re.search(r"^selftest\s+: passed$", one, re.MULTILINE) for one in entries)

    eventually("the kernel's own tests of them do not end", tried)


def has(module: str) -> bool:
    """Whether this kernel has a module, or the same built in."""
    return not subprocess.run(["modprobe", "-n", module], capture_output=True, check=False).returncode


def unload(name: str) -> None:
    """Also a module that something keeps for up to ten seconds."""
    for _ in range(100):
        result = subprocess.run(["rmmod", name], capture_output=True, text=True, check=False)
        if not result.returncode:
            return
        time.sleep(0.1)
    raise AssertionError(f"rmmod: {result.stderr.strip()}")


def delayed(**values: object) -> None:
    """Set parameters of the drivers that answer later."""
    for name, value in values.items():
        Path("/sys/module/delayed/parameters", name).write_text(f"{value:d}")


def most() -> int:
    """So many requests were under way together at those drivers."""
    return int(Path("/sys/module/delayed/parameters/most").read_text())


def eventually(what: str, true: Callable[[], bool]) -> None:
    """What is not true after so long never will be."""
    end = time.monotonic() + 20 * PATIENCE
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def state(task: int | None) -> tuple[str, str]:
    """Of a process or a thread: ``S`` or ``D`` where it sleeps, ``Z`` where it died; how often it has slept so far."""
    told = Path(f"/proc/{task}/status").read_text()
    found = re.search(r"^State:\s+(\w)(?s:.*)^voluntary_ctxt_switches:\s+(\d+)", told, re.MULTILINE)
    assert found, told
    return found[1], found[2]


def asleep(task: int | None, how: str = "S") -> None:
    """Wait until a process or a thread waits in the kernel: it sleeps, and slept on while others had a turn.

    One that only waits for Python's lock gets it meanwhile. ``how``: ``S``, or ``D`` for what only its death ends.
    """
    seen = [("", "")]

    def slept() -> bool:
        seen.append(state(task))
        return seen[-1][0] == how and seen[-1] == seen[-2]

    eventually("it does not wait", slept)


def as_nobody() -> None:
    os.setgid(65534)
    os.setuid(65534)


def apart(*functions: Callable[[], object]) -> None:
    """Call functions one after the other in a process of its own; what they raise is told."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            for function in functions:
                function()
        except BaseException as error:
            os.write(write, repr(error).encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    assert os.waitpid(pid, 0)[1] == 0 and not said, said


def let_allocations_fail() -> None:
    """Once, before Failing is used; only kernels for debugging can."""
    kinds = Path("/sys/kernel/debug")
    if not (kinds / "failslab").exists():
        subprocess.run(["mount", "-t", "debugfs", "debugfs", str(kinds)], check=True)
    for kind in ("failslab", "fail_page_alloc", "fail_usercopy"):
        for name, value in (("ignore-gfp-wait", "N"), ("min-order", "0"), ("verbose", "0")):
            if (kinds / kind / name).exists():
                (kinds / kind / name).write_text(value)


class Failing:
    """The ``nth`` allocation or copy of this thread fails; ``failed`` says afterwards whether there were so many."""

    def __init__(self, nth: int) -> None:
        self.nth, self.failed = nth, False

    def __enter__(self) -> Failing:
        self.fd = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
        os.pwrite(self.fd, str(self.nth).encode(), 0)
        return self

    def __exit__(self, *_: object) -> None:
        left = 1
        with contextlib.suppress(OSError):  # which it is that failed, if there was too little that could
            left = int(os.pread(self.fd, 20, 0).split()[0])
            os.pwrite(self.fd, b"0", 0)
        self.failed = not left
        os.close(self.fd)


def kernel_log() -> list[str]:
    lines = []
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                lines.append(os.read(fd, 8192).decode(errors="replace").split(";", 1)[-1].splitlines()[0])
            except BrokenPipeError:
                continue
            except BlockingIOError:
                return lines
    finally:
        os.close(fd)


def begin() -> None:
    """Mark in the kernel's log, once a boot, where the checks begin: what it said before is not about them."""
    if not any(BEGIN in line for line in kernel_log()):
        Path("/dev/kmsg").write_text(f"{BEGIN}\n")


def complaints(prefix: str) -> list[str]:
    """What the kernel found wrong since the checks began; ``prefix`` begins the names of a module's functions."""
    bad = (
        "BUG",
        "WARNING",
        "Oops",
        "Call Trace",
        "possible",
        "general prot",
        "refcount",
        "hung",
        "KASAN",
        "Out of memory",
    )
    said = kernel_log()
    said = said[next((n for n, line in enumerate(said) if BEGIN in line), 0) :]
    found: list[str] = []
    for place, line in enumerate(said):
        if any(word in line for word in bad):
            found += said[place : place + 40] if not found else [line]
    with contextlib.suppress(OSError):  # only a kernel for debugging has it
        scan = Path("/sys/kernel/debug/kmemleak")
        for _ in range(2):
            scan.write_text("scan")
            time.sleep(1)
        found += [f"leaked: {line}" for line in scan.read_text().splitlines() if prefix in line]
    with contextlib.suppress(OSError):  # and lockdep, which gives up at the first complaint
        if re.search(r"debug_locks:\s+0", Path("/proc/lockdep_stats").read_text()):
            found.append("lockdep has given up")
    return found
