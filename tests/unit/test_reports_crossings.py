"""Crossings beside the paper's model, and what is said of hidden instructions and of TLS."""

from __future__ import annotations

import html
import random
import re
from pathlib import Path
from typing import Any

import pytest

from harness import record, records
from harness.api.words import Words
from harness.cli import summary
from harness.record import Cell, Run
from harness.samples import Sample
from reports import older, words
from reports.drawing import crossings
from reports.findings import headline
from reports.site import pages, sections
from tests.support.real import written
from tests.support.record_maker import crossings as made_up
from tests.support.record_maker import kernel_crypto_part, make_run, small_parts, suite


def with_crossings(results: Path, *, some: list[record.Crossing] | None = None) -> record.Run:
    """A record whose suite of Figure 7 counted what crosses."""
    entry = suite("schemes", 7, 10**9, "afalg-copy")
    entry.crossings = made_up() if some is None else some
    return records.read(make_run(results, suites=[(entry, ("afalg-copy", "so-crypt"), "3des")]))


def rows(run: record.Run) -> dict[Any, dict[str, Any]]:
    (table,) = crossings.tables(run.head)
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

    def test_the_model_speaks_of_two_schemes_only(self) -> None:
        assert crossings.expected(None, 65536) is None

    def test_what_has_the_shape_of_the_scheme(self) -> None:
        assert crossings.expected("scheme", 4096) == crossings.expected("scheme", None) == crossings.Expected(0, 2)

    def test_a_buffer_that_is_not_known_has_no_model_number(self) -> None:
        assert crossings.expected("traditional", None) == crossings.Expected(None, None)
        assert crossings.expected("traditional", 10**6) == crossings.Expected(4, 8), "the paper's own arithmetic"

    def test_missing_is_not_zero(self, tmp_path: Path) -> None:
        seen = rows(with_crossings(tmp_path))["https"]
        assert seen["Copied per byte"] is None and seen["Buffers copied per MB"] is None

    def test_how_it_was_counted_and_calls_by_name(self, tmp_path: Path) -> None:
        text = html.unescape(pages.render(with_crossings(tmp_path)).html)
        for said in ("Suite schemes</h3>", "exact, by the server", "seen by strace", "file of 10\N{NO-BREAK SPACE}MB",
                     "Calls by name", "<td>sendmsg</td>", "2 a file"):  # fmt: skip
            assert said in text, said
        (table,) = crossings.tables(with_crossings(tmp_path / "again").head)
        inner = table.details[0][1]
        assert [row[0].text for row in inner.rows][:2] == ["write", "splice"], "the most frequent call first"
        assert inner.columns == ["Call", "afalg-copy", "afalg-splice", "so-crypt", "https"]

    def test_what_could_not_be_counted_makes_it_the_least(self, tmp_path: Path) -> None:
        some = made_up()
        some[-1].uncounted = ["io_uring_enter", "sendmmsg"]
        run = with_crossings(tmp_path, some=some)
        (table,) = crossings.tables(run.head)
        shown = {row[0].text: [value.text + value.small for value in row] for row in table.rows}
        crossing, counted = (list(table.columns).index(name) for name in ("Crossing per byte", "Counted"))
        assert shown["https"][crossing].startswith("at least ")
        assert shown["https"][counted].endswith("without the bytes of io_uring_enter, sendmmsg")
        others = [row for path, row in shown.items() if path != "https"]
        assert others and not any("at least" in row[crossing] or "without" in row[counted] for row in others)
        (said,) = [line for line in summary.lines(run.head, run.samples) if "crossings of" in line]
        assert re.search(
            "crossings of https: at least [0-9]+ bytes, not counting those of io_uring_enter, sendmmsg", said
        )

    def test_nothing_counted_has_no_section(self, tmp_path: Path) -> None:
        assert "Crossings between" not in pages.render(with_crossings(tmp_path, some=[])).html


class TestInstructions:
    def run(self, results: Path, kind: str, cipher: str, instructions: str, driver: str = "{}-generic") -> record.Run:
        entry = suite("tls", 7, 10**9, "https")
        entry.instructions = instructions  # type: ignore[assignment]
        entry.tls = "1.3"
        chosen = [(entry, ("https", "ktls-write", "ktls"), cipher)]
        return records.read(make_run(results, suites=chosen, kind=kind, driver=driver))

    @pytest.mark.parametrize(
        ("kind", "cipher", "instructions", "driver", "said"),
        [
            ("uml", "aes128gcm", "all", "x", words.UNMASKED),
            ("uml", "chacha20poly1305", "all", "x", words.UNMASKED),
            ("uml", "aes128gcm", "masked", "x", words.MASKED),
            ("hosts", "aes128gcm", "masked", "x", words.MASKED_ALONE),
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
        told = [sentence for sentence in (words.MASKED, words.MASKED_ALONE, words.UNMASKED) if sentence in text]
        assert told == ([said] if said else [])
        assert text.count(said) == 2 or not said
        assert ("instructions hidden" in text) == (said in (words.MASKED, words.MASKED_ALONE))

    def test_some_suites_are_named(self, tmp_path: Path) -> None:
        parts = [kernel_crypto_part("masked-one", ("aes128cbc",), instructions="masked"), *small_parts(requests=20)]
        run = records.read(make_run(tmp_path, suites=[], parts=parts))
        masked, plain = sections.limits(run)[1:]
        assert masked == f"Suite masked-one: {words.MASKED}"
        assert plain == f"Suites small-files-new, small-files-resumed, small-files-kept: {words.UNMASKED}"

    def test_what_was_not_quiet_is_said_beside_the_headline(self, tmp_path: Path) -> None:
        def edit(run: Run) -> None:
            run.head.hosts["sender"]["not_quiet"] = ["governor powersave on 8 processors", "turbo"]

        run = records.read(written(tmp_path, edit))
        said = "The sender was not quiet: governor powersave on 8 processors, turbo."
        assert sections.limits(run)[1] == said
        assert said in html.unescape(pages.render(run).html)

    def test_kernel_tls_has_its_sentence_and_heading(self, tmp_path: Path) -> None:
        run = self.run(tmp_path, "uml", "aes128gcm", "masked")
        said = headline.headline(run)
        assert said.startswith("Encrypting TLS in the kernel and taking the data off user space (ktls) made 100 MB ")
        assert "TLS in user space" in said and "27 %" not in said
        assert "The scheme against TLS in user space · AES-128-GCM · TLS 1.3" in pages.render(run).html


def timed(cell: Cell, block: int, rng: random.Random) -> Sample:
    """The sample of a cell whose path takes the longer, the longer its name."""
    seconds = len(cell.path) + rng.random() / 100
    return Sample(
        cell=cell.id, block=block, index=0, warmup=block == 0, seconds=seconds, bytes=10**6, sha256_ok=True, valid=True
    )


class TestWords:
    def test_a_path_is_called_as_its_record_says(self, tmp_path: Path) -> None:
        head = records.read(make_run(tmp_path, paths={"ktls": Words(label="another title")})).head
        assert words.path_title(head, "ktls") == "another title" and words.baseline(head, "ktls") == "ktls"

    @pytest.mark.parametrize("path", older.PATHS)
    def test_an_older_record_s_paths_are_explained(self, tmp_path: Path, path: str) -> None:
        head = records.read(make_run(tmp_path)).head
        assert head.paths == {} and words.path_title(head, path)

    def test_a_path_that_nobody_spoke_of_has_its_name(self, tmp_path: Path) -> None:
        head = records.read(make_run(tmp_path)).head
        assert (words.path_title(head, "mine"), words.baseline(head, "mine")) == ("", "mine")

    @pytest.mark.parametrize(
        ("base", "path", "begin", "end"),
        [
            ("http", "plain", "Using plain sendfile (plain) made ", " as fast as plain HTTP ("),
            ("plain", "http", "Using plain HTTP (http) made ", "plain sendfile ("),
            ("http", "mine", "Using mine made no difference ", " against plain HTTP ("),
        ],
    )
    def test_of_two_paths_in_clear_both_are_spoken_of(
        self, tmp_path: Path, base: str, path: str, begin: str, end: str
    ) -> None:
        entry = suite("servers", None, None, base)
        cells = [
            Cell(id=f"servers/{name}/none/any/1MB", suite="servers", path=name, cipher="none", driver="any",
                 size_bytes=10**6, outcome="measured")
            for name in (base, path)
        ]  # fmt: skip
        run = records.read(make_run(tmp_path, suites=[], parts=[(entry, cells, timed)]))
        said = headline.headline(run)
        assert said.startswith(begin) and end in said and "encrypt" not in said

    @pytest.mark.parametrize(
        "cipher",
        ["null", "des", "3des", "aes128cbc", "aes256cbc", "aes128gcm", "aes256gcm", "chacha20poly1305"],
    )
    def test_every_cipher_has_a_name(self, cipher: str) -> None:
        assert words.cipher(cipher) != cipher
