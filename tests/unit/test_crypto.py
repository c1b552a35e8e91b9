"""Reading /proc/crypto, and which driver the kernel takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hosts.crypto import proc_crypto
from hosts.crypto.proc_crypto import Driver
from hosts.onhost.agent import crypto_user
from hosts.onhost.agent.crypto_user import HIGHEST_PRIORITY

# as a 6.12 kernel with a virtio crypto device writes it
TEXT = """\
name         : rsa
driver       : virtio-crypto-rsa
module       : virtio_crypto
priority     : 150
refcnt       : 1
selftest     : unknown
internal     : no
type         : akcipher

name         : cbc(aes)
driver       : virtio_crypto_aes_cbc
module       : virtio_crypto
priority     : 150
refcnt       : 1
selftest     : passed
internal     : no
type         : skcipher
async        : yes
blocksize    : 16
min keysize  : 16
max keysize  : 32
ivsize       : 16
chunksize    : 16
walksize     : 16
statesize    : 0

name         : gcm(sm4)
driver       : gcm(sm4)
module       : kernel
priority     : -1
refcnt       : 3
selftest     : unknown
internal     : no
type         : larval
flags        : 0x410

name         : __cbc(aes)
driver       : __cbc-aes-aesni
module       : aesni_intel
priority     : 400
refcnt       : 1
selftest     : passed
internal     : yes
type         : skcipher
async        : no
blocksize    : 16
min keysize  : 16
max keysize  : 32
ivsize       : 16
chunksize    : 16
walksize     : 16
statesize    : 0

name         : sha1
driver       : sha1-generic
module       : kernel
priority     : 100
refcnt       : 2
selftest     : passed
internal     : no
type         : shash
blocksize    : 64
digestsize   : 20

"""


def driver(name: str, priority: int, algorithm: str = "cbc(aes)") -> Driver:
    """A driver that may be taken."""
    return Driver(algorithm, name, "kernel", "skcipher", priority, False, True, False, 16, 16, 32, 16, 1)


def test_a_list_as_a_kernel_writes_it() -> None:
    drivers = proc_crypto.parse(TEXT)
    assert [d.driver for d in drivers] == [
        "virtio-crypto-rsa",
        "virtio_crypto_aes_cbc",
        "__cbc-aes-aesni",
        "sha1-generic",
    ]
    rsa, card, internal, sha = drivers
    assert card == Driver(
        algorithm="cbc(aes)",
        driver="virtio_crypto_aes_cbc",
        module="virtio_crypto",
        type="skcipher",
        priority=150,
        asynchronous=True,
        passed=True,
        internal=False,
        block_bytes=16,
        min_key=16,
        max_key=32,
        iv_bytes=16,
        refcnt=1,
    )
    assert (rsa.passed, rsa.eligible, internal.eligible) == (False, False, False)
    assert (sha.asynchronous, sha.min_key, sha.block_bytes, sha.refcnt) == (None, None, 64, 2)


def test_what_is_cut_off_is_no_driver() -> None:
    whole = proc_crypto.parse(TEXT)
    for end in range(len(TEXT)):
        found = proc_crypto.parse(TEXT[:end])
        assert [d.driver for d in found[:-1]] == [d.driver for d in whole[: max(0, len(found) - 1)]]
    assert proc_crypto.parse("") == ()


names = st.from_regex(r"[a-z0-9_]+(\([a-z0-9_,()-]+\))?([-_][a-z0-9]+)*", fullmatch=True).filter(lambda n: len(n) < 64)


@st.composite
def drivers(draw: st.DrawFn) -> list[Driver]:
    """Drivers of a few algorithms, each of another name."""
    found = draw(st.lists(names, unique=True, max_size=8))
    whole = st.one_of(st.none(), st.integers(0, 4096))
    return [
        Driver(
            algorithm=draw(st.sampled_from(["cbc(aes)", "cbc(des3_ede)", "gcm(aes)"])),
            driver=name,
            module=draw(st.sampled_from(["kernel", "intel_qat"])),
            type=draw(st.sampled_from(["skcipher", "aead", "cipher"])),
            priority=draw(st.integers(0, HIGHEST_PRIORITY)),
            asynchronous=draw(st.sampled_from([None, True, False])),
            passed=draw(st.booleans()),
            internal=draw(st.booleans()),
            block_bytes=draw(whole),
            min_key=draw(whole),
            max_key=draw(whole),
            iv_bytes=draw(whole),
            refcnt=draw(st.integers(1, 1000)),
        )
        for name in found
    ]


def written(listed: list[Driver]) -> str:
    """The drivers as the kernel writes them."""
    paragraphs = []
    for d in listed:
        lines = {
            "name": d.algorithm,
            "driver": d.driver,
            "module": d.module,
            "priority": d.priority,
            "refcnt": d.refcnt,
            "selftest": "passed" if d.passed else "unknown",
            "internal": "yes" if d.internal else "no",
            "type": d.type,
            "async": None if d.asynchronous is None else "yes" if d.asynchronous else "no",
            "blocksize": d.block_bytes,
            "min keysize": d.min_key,
            "max keysize": d.max_key,
            "ivsize": d.iv_bytes,
        }
        paragraphs.append("".join(f"{k:<13}: {v}\n" for k, v in lines.items() if v is not None) + "\n")
    return "".join(paragraphs)


@given(drivers())
def test_what_is_written_is_read_again(listed: list[Driver]) -> None:
    assert list(proc_crypto.parse(written(listed))) == listed


@given(drivers())
def test_a_host_and_its_agent_read_the_same(listed: list[Driver]) -> None:
    text = written(listed)
    known = {d.driver: (d.algorithm, d.priority) for d in proc_crypto.parse(text) if not d.internal}
    assert crypto_user.listed(text) == known


@given(st.text(max_size=400))
def test_any_text_is_read_without_an_error(text: str) -> None:
    proc_crypto.parse(text)
    proc_crypto.parse(TEXT + text)
    crypto_user.listed(text)


@given(drivers())
def test_the_kernel_takes_the_first_of_the_highest_priority(listed: list[Driver]) -> None:
    """Against the rule of crypto/api.c written down step by step."""
    for algorithm in ("cbc(aes)", "gcm(aes)"):
        best, chosen = -2, None
        for d in listed:
            if d.algorithm == algorithm and d.passed and not d.internal and d.priority > best:
                best, chosen = d.priority, d
        assert proc_crypto.taken(listed, algorithm) == chosen


def test_flags_are_told_only_where_they_were_asked_for() -> None:
    listed = [driver("card", 1), driver("soft", 2)]
    assert [d.kernel_driver_only for d in proc_crypto.flagged(listed, None)] == [None, None]
    found = proc_crypto.flagged(listed, {"card": 0x1485, "other": 0})
    assert [d.kernel_driver_only for d in found] == [True, None]
