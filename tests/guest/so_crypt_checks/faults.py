"""Every allocation fails once; for kernels that can make them fail."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from ..checking import Failing, let_allocations_fail, same
from .common import AES, CTR, PAD_PKCS7, PLAIN, Case, Cipher, Reader, deciphered, encrypted, expected, sendfile
from .receiving import splice_to_file


class Faults(Case):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        let_allocations_fail()

    def each(self, attempt: Callable[[int], bool]) -> None:
        """Attempts until nothing is left that could fail."""
        tried = next((nth for nth in range(1, 400) if not attempt(nth)), 400)
        self.assertTrue(3 < tried < 400, f"{tried} attempts")

    def stream(self, cipher: Cipher, nth: int) -> bool:
        """A stream that ends in order is whole; a reset is for one that could not be."""
        with encrypted(cipher) as (sender, receiver):
            taken = 0
            with Failing(nth) as failing, contextlib.suppress(OSError):
                taken += sender.send(PLAIN[:5001])
                taken += sendfile(sender, taken, 20003)
                sender.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                sender.shutdown(socket.SHUT_WR)
            reader = Reader(receiver)
            reader.join(25)
            self.assertFalse(reader.is_alive(), f"allocation {nth}: no end")
            if reader.error is None:
                same(bytes(reader.data), expected(cipher, taken, PAD_PKCS7), f"allocation {nth}, {taken} bytes")
            else:
                self.assertTrue(failing.failed, f"allocation {nth}: {reader.error}")
            return failing.failed

    def test_streams(self) -> None:
        for cipher in (AES, CTR):
            self.each(lambda nth, cipher=cipher: self.stream(cipher, nth))  # type: ignore[misc]

    def test_nothing_waits_for_another_call(self) -> None:
        """What was taken goes as soon as there is memory."""

        def attempt(nth: int) -> bool:
            with encrypted(CTR) as (sender, receiver):
                taken = 0
                with Failing(nth) as failing, contextlib.suppress(OSError):
                    taken = sender.send(PLAIN[:5])
                if taken:
                    same(receiver.recv(10), expected(CTR, 5, PAD_PKCS7), f"allocation {nth}")
                return failing.failed

        self.each(attempt)

    def test_receiving(self) -> None:
        """Nothing is lost for want of memory: who calls again gets the whole stream."""

        def attempt(cipher: Cipher, by_splice: bool, nth: int) -> bool:
            with deciphered(cipher) as (sender, receiver):
                sender.sendall(expected(cipher, 30001, PAD_PKCS7))
                sender.shutdown(socket.SHUT_WR)
                got = bytearray()
                with Failing(nth) as failing, contextlib.suppress(OSError):
                    if by_splice:
                        got += splice_to_file(receiver)
                    else:
                        while piece := receiver.recv(7001):
                            got += piece
                if not by_splice:
                    while piece := receiver.recv(7001):
                        got += piece
                    same(bytes(got), PLAIN[:30001], f"allocation {nth}")
                return failing.failed

        for cipher in (AES, CTR):
            for by_splice in (False, True):
                self.each(lambda nth, cipher=cipher, way=by_splice: attempt(cipher, way, nth))  # type: ignore[misc]
