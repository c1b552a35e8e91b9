"""Programs of others on sockets that decipher: they get one as what they read from, or set one themselves (socat)."""

from __future__ import annotations

import collections
import contextlib
import fcntl
import gzip
import hashlib
import io
import itertools
import os
import random
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..checking import PATIENCE, same
from .common import (
    AES,
    CTR,
    DES3,
    NULL,
    PAD_PKCS7,
    PLAIN,
    SO_CRYPT_SET,
    SO_CRYPT_SET_RX,
    SOL_SO_CRYPT,
    Case,
    Cipher,
    Writer,
    deciphered,
    expected,
    info_rx,
    openssl,
    pad,
    read_all,
    setting,
)
from .receiving import F_SETPIPE_SZ

SECONDS = 60 * PATIENCE
FOREIGN = Path(os.environ.get("FOREIGN", "/nowhere"))
"""Where socat, pv and nc are, and the library so_crypt_preload."""
PAGE = 4096
PERL = 'while ($n = sysread(STDIN, $b, 1 + rand(9000))) { print $b } die "$!" unless defined $n'


def enciphered(cipher: Cipher, data: bytes) -> bytes:
    """Any bytes as a stream."""
    return openssl(cipher, pad(cipher, data, PAD_PKCS7))


def ragged(rng: random.Random) -> Iterator[int]:
    while True:
        yield rng.choice((1, 7, 16, 100, 1460, 5000, 70000))


def given(command: Sequence[str], sock: socket.socket, **more: object) -> subprocess.Popen[bytes]:
    """A program that reads the socket as its standard input."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    return subprocess.Popen(command, stdin=sock, **pipes)  # type: ignore[call-overload,no-any-return]


def said(process: subprocess.Popen[bytes]) -> bytes:
    """What it wrote, once it has ended well."""
    out, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, f"{process.args!r}: status {process.returncode}: {errors.decode()[-500:]}"
    return out or b""


def processors() -> Callable[[int], Sequence[str]]:
    """What puts a program on one of the processors, one after the other, where there are several."""
    usable = sorted(os.sched_getaffinity(0))
    return lambda number: () if len(usable) < 2 else ("taskset", "-c", str(usable[number % len(usable)]))


def archived(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for at in range(0, len(data), 100_000):
            entry = tarfile.TarInfo(f"{at}")
            entry.size = len(data[at : at + 100_000])
            archive.addfile(entry, io.BytesIO(data[at : at + 100_000]))
    return buffer.getvalue()


class Inherited(Case):
    """The socket is what a program reads."""

    def test_programs_that_read(self) -> None:
        rng, n = random.Random(81), 300_000
        data = PLAIN[:n]
        digest = hashlib.sha256(data).hexdigest().encode()
        readers: list[tuple[Sequence[str], bytes, bytes]] = [
            (["cat"], data, data),
            (["dd", "bs=64K", "iflag=fullblock"], data, data),
            (["dd", "bs=4099"], data, data),
            (["dd", "bs=33", "count=2000", "iflag=fullblock"], data, data[:66_000]),
            (["dd", "bs=999", "skip=100", "iflag=fullblock"], data, data[99_900:]),
            (["head", "-c", "100001"], data, data[:100_001]),
            (["tail", "-c", "70001"], data, data[-70_001:]),
            (["tail", "-c", "+70001"], data, data[70_000:]),
            (["sha256sum"], data, digest + b"  -\n"),
            (["openssl", "dgst", "-sha256", "-r"], data, digest + b" *stdin\n"),
            (["gzip", "-dc"], gzip.compress(data), data),
            (["tar", "-xO"], archived(data), data),
            (["tee", "/dev/null"], data, data),
            (["perl", "-e", PERL], data, data),
            (["wc", "-c"], data, b"%d\n" % n),
            (["stdbuf", "-i0", "base64", "-w0"], data, subprocess.check_output(["base64", "-w0"], input=data)),
            (
                ["sh", "-c", "dd bs=7 count=3 iflag=fullblock; head -c 50; dd bs=64K count=1 iflag=fullblock; cat"],
                data,
                data,
            ),
            ([str(FOREIGN / "pv"), "-q"], data, data),
            ([str(FOREIGN / "pv"), "-q", "-L", "1m", "-B", "1000"], data, data),
            ([str(FOREIGN / "pv"), "-q", "-C"], data, data),
            ([str(FOREIGN / "socat"), "-u", "-b", "777", "STDIN", "STDOUT"], data, data),
        ]
        for number, (command, sent, due) in enumerate(readers):
            for cipher, buffers in ((AES, 0), (DES3, 3000), (CTR, 3000), (NULL, 0))[number % 2 :: 2]:
                with deciphered(cipher, buffers=buffers) as (sender, receiver):
                    program = given(command, receiver)
                    Writer(sender, enciphered(cipher, sent), ragged(rng) if buffers else None)
                    same(said(program), due, f"{' '.join(command)}, {cipher.kernel}, {buffers}")

    def test_a_cut_stream_is_an_error_for_each_of_them(self) -> None:
        for command in (["cat"], ["dd", "bs=5000"], [str(FOREIGN / "pv"), "-q"], [str(FOREIGN / "pv"), "-q", "-C"]):
            with deciphered(AES) as (sender, receiver):
                Writer(sender, expected(AES, 50_000, PAD_PKCS7)[:-1])
                program = given(command, receiver)
                out, errors = program.communicate(timeout=SECONDS)
                same(out, PLAIN[: len(out)], "what came before")
                self.assertIn(b"Bad message", errors, " ".join(command))

    def test_several_at_once(self) -> None:
        """Each byte is given once, on all processors."""
        on = processors()
        for cipher, size in ((CTR, 7), (AES, 1000), (DES3, 100_000)):
            with deciphered(cipher, buffers=20_000) as (sender, receiver), contextlib.ExitStack() as stack:
                files = [stack.enter_context(tempfile.TemporaryFile(dir="/dev/shm")) for _ in range(4)]
                programs = [
                    given([*on(number), "dd", f"bs={size}"], receiver, stdout=file) for number, file in enumerate(files)
                ]
                length = 200_000 if size > 100 else 30_000
                Writer(sender, expected(cipher, length, PAD_PKCS7))
                for program in programs:
                    said(program)
                got: collections.Counter[int] = collections.Counter()
                for file in files:
                    file.seek(0)
                    got.update(file.read())
                self.assertEqual(got, collections.Counter(PLAIN[:length]), f"{cipher.kernel}, {size}")

    def test_one_that_looks_while_another_takes(self) -> None:
        """Each look is of the stream, and takes nothing from whom reads."""
        with deciphered(CTR, buffers=20_000) as (sender, receiver):
            over, looks = threading.Event(), list[bool]()

            def look() -> None:
                while not over.wait(0.001):
                    with contextlib.suppress(BlockingIOError):
                        piece = receiver.recv(5000, socket.MSG_PEEK | socket.MSG_DONTWAIT)
                        looks.append(PLAIN.find(piece) >= 0)

            looking = threading.Thread(target=look, daemon=True)
            program = given(["cat"], receiver)
            looking.start()
            Writer(sender, expected(CTR, 1 << 20, PAD_PKCS7), ragged(random.Random(84)))
            same(said(program), PLAIN[: 1 << 20], "cat")
            over.set()
            looking.join(20)
            self.assertTrue(looks, "it saw nothing")
            self.assertTrue(all(looks), "a piece that is not of the stream")

    def test_a_full_pipe(self) -> None:
        """splice(2) of pv into a pipe of a page that nobody empties for a while; and killed in it."""
        log = f"{tempfile.gettempdir()}/pv.strace"
        tracing = ["strace", "-f", "-o", log, "-e", "trace=splice"]
        for cipher, killed in itertools.product((AES, CTR), (False, True)):
            with deciphered(cipher) as (sender, receiver):
                read, write = os.pipe()
                fcntl.fcntl(write, F_SETPIPE_SZ, PAGE)
                command = [str(FOREIGN / "pv"), "-q"]
                program = given(command if killed else [*tracing, *command], receiver, stdout=write)
                os.close(write)
                Writer(sender, expected(cipher, 200_000, PAD_PKCS7))
                while info_rx(receiver).bytes_out < PAGE:
                    self.assertIsNone(program.poll(), "it ended")
                    time.sleep(0.01)
                time.sleep(0.1)
                if killed:
                    program.kill()
                    program.communicate(timeout=SECONDS)
                gone = info_rx(receiver).bytes_out
                with os.fdopen(read, "rb") as pipe:
                    taken = pipe.read()
                if killed:
                    same(taken, PLAIN[:gone], "what is in the pipe")
                    same(said(given(["cat"], receiver)), PLAIN[gone:200_000], "what the next one gets")
                else:
                    said(program)
                    self.assertLess(gone, 10_000, "the pipe has room for more")
                    same(taken, PLAIN[:200_000], "the pipe")
                    self.assertRegex(Path(log).read_text(), r"splice\(.*\) += [1-9]", "it did not splice")

    def test_killed_in_the_middle(self) -> None:
        """The next program gets the stream from where the kernel gave it last."""
        rng = random.Random(82)
        commands = [["cat"], ["dd", "bs=333"], [str(FOREIGN / "pv"), "-q"], ["dd", "bs=1M", "iflag=fullblock"]]
        for number in range(40):
            cipher = (AES, CTR, DES3)[number % 3]
            with deciphered(cipher, buffers=30_000) as (sender, receiver):
                program = given(commands[number % 4], receiver)
                Writer(sender, expected(cipher, 300_000, PAD_PKCS7), ragged(rng))
                time.sleep(rng.random() / 30)
                program.kill()
                program.communicate(timeout=SECONDS)
                gone = info_rx(receiver).bytes_out
                rest = said(given(["cat"], receiver))
                same(rest, PLAIN[gone:300_000], "what the next one gets")

    def test_stopped_traced_and_continued(self) -> None:
        """Calls that wait are begun anew (signal(7))."""
        stream = expected(AES, 400_000, PAD_PKCS7)
        step = len(stream) // 40 + 1
        with deciphered(AES) as (sender, receiver), tempfile.TemporaryFile(dir="/dev/shm") as file:
            program = given(["cat"], receiver, stdout=file)
            for number, at in enumerate(range(0, len(stream), step)):
                sender.sendall(stream[at : at + step])
                if number % 4:
                    program.send_signal(signal.SIGSTOP)
                    time.sleep(0.005)
                    program.send_signal(signal.SIGCONT)
                    continue
                tracing = ["strace", "-o", "/dev/null", "-p", str(program.pid)]
                with subprocess.Popen(tracing, stderr=subprocess.PIPE) as tracer:
                    assert tracer.stderr
                    self.assertIn(b"attached", tracer.stderr.readline())
                    tracer.send_signal(signal.SIGINT)
            sender.shutdown(socket.SHUT_WR)
            said(program)
            file.seek(0)
            same(file.read(), PLAIN[:400_000], "cat")


def option(number: int, cipher: Cipher) -> str:
    return f"setsockopt={SOL_SO_CRYPT}:{number}:x{setting(cipher).hex()}"


class ByOption(Case):
    """socat makes the connection, and sets the options itself."""

    @contextlib.contextmanager
    def listening(self, buffers: int = 0) -> Iterator[tuple[socket.socket, str]]:
        with socket.socket() as listener:
            if buffers:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
            listener.bind(("127.0.0.1", 0))
            listener.listen(5)
            listener.settimeout(20)
            ulp = "setsockopt-string=6:31:so_crypt"
            yield listener, f"TCP4:127.0.0.1:{listener.getsockname()[1]},{ulp}"

    def test_it_receives(self) -> None:
        for cipher, size, buffers in ((AES, 8192, 0), (DES3, 1, 5000), (CTR, 100_000, 0), (NULL, 333, 5000)):
            with self.listening(buffers) as (listener, where):
                length = 20_000 if size == 1 else 500_000
                words = [
                    str(FOREIGN / "socat"),
                    "-u",
                    "-b",
                    str(size),
                    f"{where},{option(SO_CRYPT_SET_RX, cipher)}",
                    "-",
                ]
                program = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                sender = listener.accept()[0]
                with sender:
                    Writer(sender, expected(cipher, length, PAD_PKCS7))
                    same(said(program), PLAIN[:length], f"{cipher.kernel}, {size}")

    def test_both_directions_at_once(self) -> None:
        """What is deciphered comes back enciphered by the same socket."""
        for cipher in (AES, CTR):
            with self.listening() as (listener, where):
                both = f"{option(SO_CRYPT_SET, cipher)},{option(SO_CRYPT_SET_RX, cipher)}"
                program = subprocess.Popen([str(FOREIGN / "socat"), "-t", "20", f"{where},{both}", "EXEC:cat"])
                echo = listener.accept()[0]
                with echo:
                    echo.settimeout(20)
                    Writer(echo, expected(cipher, 400_000, PAD_PKCS7))
                    same(read_all(echo), expected(cipher, 400_000, PAD_PKCS7), cipher.kernel)
                self.assertEqual(program.wait(SECONDS), 0)

    def test_killed_and_reset(self) -> None:
        for number in range(30):
            with self.listening() as (listener, where):
                words = [str(FOREIGN / "socat"), "-u", f"{where},{option(SO_CRYPT_SET_RX, AES)}", "OPEN:/dev/null"]
                program = subprocess.Popen(words, stderr=subprocess.DEVNULL)
                with listener.accept()[0] as sender:
                    Writer(sender, expected(AES, 1 << 20, PAD_PKCS7))
                    time.sleep(number / 1000)
                    if number % 2:
                        program.kill()
                    else:
                        with contextlib.suppress(OSError):  # it has ended by then, now and then
                            sender.shutdown(socket.SHUT_RDWR)
                program.wait(SECONDS)
