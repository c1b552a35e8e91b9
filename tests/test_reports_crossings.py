"""Crossings beside the paper's model, and what is said of hidden instructions and of TLS."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pytest

from harness import record
from reports import words
from reports.drawing import crossings
from reports.findings import headline
from reports.site import pages, sections
from tests.record_maker import crossings as made_up
from tests.record_maker import make_run, raw_part, small_parts, suite


def with_crossings(results: Path, *, some: list[record.Crossing] | None = None) -> record.Run:
    """A record whose suite of Figure 7 counted what crosses."""
    entry = suite("schemes", 7, 10**9, "afalg-copy")
    entry.crossings = made_up() if some is None else some
    return record.read(make_run(results, suites=[(entry, ("afalg-copy", "so-crypt"), "3des")]))


def rows(run: record.Run) -> dict[Any, dict[str, Any]]:
    (table,) = crossings.tables(run.head.suites)
    listed = [dict(zip(table.columns, (value.raw for value in row), strict=True)) for row in table.rows]
    return {row["Path"]: row for row in listed}


class TestCrossings:
    def test_measured_beside_the_model(self, tmp_path: Path) -> None:
        found = rows(with_crossings(tmp_path))
        copy = found["afalg-copy"]
        chunks = 153  # of 64 KiB in 10 MB
        assert copy["System calls per MB"] == pytest.approx(4 * chunks / 10)
        assert copy["Mode switches per MB"] == pytest.approx(8 * chunks / 10)
        assert copy["Model: switches"] == pytest.approx(8e6 / 65536)
        assert copy["Crossing per byte"] == 4 and copy["Copied per byte"] == 3
        assert copy["Buffers copied per MB"] == pytest.approx(3e6 / 65536)
        assert copy["Model: buffers"] == pytest.approx(4e6 / 65536)
        scheme = found["so-crypt"]
        assert scheme["Mode switches per MB"] == pytest.approx(0.2)
        assert (scheme["Model: switches"], scheme["Model: buffers"]) == (2, 0)
        assert (scheme["Crossing per byte"], scheme["Buffers copied per MB"]) == (0, 0)

    @pytest.mark.parametrize("path", ["https", "ktls-write", "so-crypt-send", "https-qat", "new"])
    def test_the_model_speaks_of_two_schemes_only(self, path: str) -> None:
        assert crossings.model(path, 65536) is None

    @pytest.mark.parametrize("path", ["afalg-splice", "so-crypt", "ktls", "http", "plain", "ipsec"])
    def test_what_has_the_shape_of_the_scheme(self, path: str) -> None:
        assert crossings.model(path, 4096) == crossings.model(path, None) == crossings.Model(0, 2)

    def test_a_buffer_that_is_not_known_has_no_model_number(self) -> None:
        assert crossings.model("afalg-copy", None) == crossings.Model(None, None)
        assert crossings.model("afalg-copy", 10**6) == crossings.Model(4, 8), "the paper's own arithmetic"

    def test_missing_is_not_zero(self, tmp_path: Path) -> None:
        seen = rows(with_crossings(tmp_path))["https"]
        assert seen["Copied per byte"] is None and seen["Buffers copied per MB"] is None

    def test_how_it_was_counted_and_calls_by_name(self, tmp_path: Path) -> None:
        text = html.unescape(pages.render(with_crossings(tmp_path)).html)
        for said in ("Suite schemes</h3>", "exact, by the server", "seen by strace", "file of 10\N{NO-BREAK SPACE}MB",
                     "Calls by name", "<td>sendmsg</td>", "2 a file"):  # fmt: skip
            assert said in text, said
        (table,) = crossings.tables(with_crossings(tmp_path / "again").head.suites)
        inner = table.details[0][1]
        assert [row[0].text for row in inner.rows][:2] == ["write", "splice"], "the most frequent call first"
        assert inner.columns == ["Call", "afalg-copy", "afalg-splice", "so-crypt", "https"]

    def test_nothing_counted_has_no_section(self, tmp_path: Path) -> None:
        assert "Crossings between" not in pages.render(with_crossings(tmp_path, some=[])).html


class TestInstructions:
    def run(self, results: Path, kind: str, cipher: str, instructions: str, driver: str = "{}-generic") -> record.Run:
        entry = suite("tls", 7, 10**9, "https")
        entry.instructions = instructions  # type: ignore[assignment]
        entry.tls = "1.3"
        chosen = [(entry, ("https", "ktls-write", "ktls"), cipher)]
        return record.read(make_run(results, suites=chosen, kind=kind, driver=driver))

    @pytest.mark.parametrize(
        ("kind", "cipher", "instructions", "driver", "said"),
        [
            ("uml", "aes128gcm", "all", "x", words.UNMASKED),
            ("uml", "chacha20poly1305", "all", "x", words.UNMASKED),
            ("uml", "aes128gcm", "masked", "x", words.MASKED),
            ("hosts", "aes128gcm", "masked", "x", words.MASKED),
            ("uml", "3des", "all", "x", ""),
            ("hosts", "aes128gcm", "all", "{}-generic", ""),
            ("qemu", "aes128gcm", "all", "{}-generic", words.UNMASKED),
            ("qemu", "aes128gcm", "all", "{}-aesni", ""),
        ],
    )
    def test_said_beside_the_headline_and_under_the_heading(
        self, tmp_path: Path, kind: str, cipher: str, instructions: str, driver: str, said: str
    ) -> None:
        run = self.run(tmp_path, kind, cipher, instructions, driver)
        text = html.unescape(pages.render(run).html)
        told = [sentence for sentence in (words.MASKED, words.UNMASKED) if sentence in text]
        assert told == ([said] if said else [])
        assert text.count(said) == 2 or not said
        assert ("instructions hidden" in text) == (said == words.MASKED)

    def test_some_suites_are_named(self, tmp_path: Path) -> None:
        parts = [raw_part("masked-one", ("aes128cbc",), instructions="masked"), *small_parts(requests=20)]
        run = record.read(make_run(tmp_path, suites=[], parts=parts))
        masked, plain = sections.limits(run)[1:]
        assert masked == f"Suite masked-one: {words.MASKED}"
        assert plain == f"Suites small-files-new, small-files-resumed, small-files-kept: {words.UNMASKED}"

    def test_kernel_tls_has_its_sentence_and_heading(self, tmp_path: Path) -> None:
        run = self.run(tmp_path, "uml", "aes128gcm", "masked")
        said = headline.headline(run)
        assert said.startswith("Encrypting TLS in the kernel and taking the data off user space (ktls) made 100 MB ")
        assert "TLS in user space" in said and "27 %" not in said
        assert "The scheme against TLS in user space · AES-128-GCM · TLS 1.3" in pages.render(run).html


class TestWords:
    @pytest.mark.parametrize("path", ["ktls-write", "ktls", "raw-encrypt", "raw-decrypt", "openssl-speed", "https-qat"])
    def test_every_path_is_explained(self, path: str) -> None:
        assert words.path_title(path)

    @pytest.mark.parametrize(
        "cipher",
        ["null", "des", "3des", "aes128cbc", "aes256cbc", "aes128gcm", "aes256gcm", "chacha20poly1305"],
    )
    def test_every_cipher_has_a_name(self, cipher: str) -> None:
        assert words.cipher(cipher) != cipher
