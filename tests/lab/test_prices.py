"""Prices measured on the lab: each by the one way it has."""

from __future__ import annotations

import statistics
from contextlib import ExitStack

import pytest

from harness.api.bench import load
from harness.api.parameters import Parameters
from harness.api.prices import price_of
from harness.api.steps import CHUNK_BYTES, Steps, Way
from harness.ciphers.table import CIPHERS
from harness.costs import prices, rehearsal
from harness.costs.explanation import Explanation
from harness.events import Events
from harness.measuring.opened import OpenTestbed
from harness.profile import TransferSuite
from harness.record import Metric, SuiteEntry
from hosts.remote import changes
from hosts.remote.agent import AgentError
from hosts.remote.changes import Scope
from tests.support.runs import PATHS, profile_of, suite

ATTEMPTS = 4
"""The interfaces are asked one after the other: somebody else's work may fall upon one of them, but not every time."""


@pytest.mark.parametrize("name", ["hmac(sha1)", "hmac(sha256)", "sha256"])
def test_the_kernel_s_hash_is_timed_for_few_bytes_and_many(opened: OpenTestbed, name: str) -> None:
    """By either interface: what a byte costs is the hash's own, and no figure of the interface."""
    ratios = []
    with Scope(opened.sender) as scope:
        load(opened.sender, scope, "algif_hash", "hmac", "sha1_generic", "sha256_generic")
        scope.apply(changes.insmod("devcrypto", opened.sender_facts.built["devcrypto"]))
        for _ in range(ATTEMPTS):
            bytes_ns = {}
            for interface in ("/dev/crypto", "AF_ALG"):
                told = opened.sender.agent.hash_cost(name, 0.2, interface)
                assert (told.small.size_bytes, told.large.size_bytes) == (256, 16384)
                assert 0 < told.small.usual_ns < told.large.usual_ns
                bytes_ns[interface] = price_of(told).byte_ns
            ratios.append(bytes_ns["/dev/crypto"] / bytes_ns["AF_ALG"])
            if 0.5 < ratios[-1] < 2:
                return
    raise AssertionError(f"the interfaces never agree: {ratios}")


def test_a_hash_that_the_kernel_does_not_have_is_named(opened: OpenTestbed) -> None:
    with Scope(opened.sender) as scope:
        load(opened.sender, scope, "algif_hash")
        with pytest.raises(AgentError, match=r"the kernel gives no hash hmac\(rot13\)"):
            opened.sender.agent.hash_cost("hmac(rot13)", 0.2)
        with pytest.raises(AgentError, match="0 seconds"):
            opened.sender.agent.hash_cost("sha256", 0.0)
        with pytest.raises(AgentError, match=r"/dev/crypto gives no hash sha256: it is not there"):
            opened.sender.agent.hash_cost("sha256", 0.2, "/dev/crypto")


@pytest.mark.parametrize(
    "parameters",
    [
        Parameters(CIPHERS["aes128gcm"], tls="1.3"),
        Parameters(CIPHERS["aes128cbc"], integrity="sha256"),
        Parameters(CIPHERS["3des"]),
    ],
    ids=lambda parameters: parameters.cipher.name,
)
def test_every_step_of_every_path_that_is_possible_has_its_price(opened: OpenTestbed, parameters: Parameters) -> None:
    # the QAT engine's price is that of its own encryption: there is none where it hands out OpenSSL's
    mine = [path for name, path in PATHS.items() if name != "https-qat" and not path.clear]
    mine = [path for path in mine if not path.impossible(parameters)]
    needed = {name for path in mine for name in (path.steps(parameters) or Steps()).names()}
    sources = [source for path in mine for source in path.prices]
    with ExitStack() as stack:
        known = prices.measure(opened.bench("prices", stack), parameters, sources, needed)
    assert set(known) == needed
    # what a copy costs is a difference, of which noise alone may be left
    of_a_chunk = {name: price.call_ns + price.byte_ns * CHUNK_BYTES for name, price in known.items()}
    assert not {name: cost for name, cost in of_a_chunk.items() if cost <= 0 and not name.endswith("copy")}
    ciphering = {name for source in sources for name in source.ciphering}
    assert all(price.byte_ns > 0 for name, price in known.items() if name in ciphering)
    if parameters.cipher and parameters.cipher.skcipher:
        assert known["devcrypto_copy"].byte_ns > known["devcrypto_map"].byte_ns, "what is mapped is not copied"
        # the same cipher by the other meter, whose request is in its price, too
        assert 0.7 < known["kernel_cipher"].byte_ns / known["cipher"].byte_ns < 1.4
    if parameters.cipher and not parameters.cipher.aead:
        assert known["esp"].byte_ns > known["kernel_cipher"].byte_ns, "the cipher and its hash"


COUNT_NS = 1.0
"""Of a count, or nearly: no processor needs less than a tenth of that."""


def test_a_rehearsal_takes_more_of_the_sender_the_more_work_it_is_given(metered: OpenTestbed) -> None:
    ways, work_ns, size = (Way("chunks"), Way("send"), Way("records", 16384)), 4e6, rehearsal.DEAR[1]
    with ExitStack() as stack:
        stack.enter_context(metered.measuring())
        bench = metered.bench("rehearsals", stack)
        metered.payload(size, 1)
        stages = {
            f"{way.calls}-{work > 0}": rehearsal.serve(bench, f"{way.calls}-{work > 0}", way, work, COUNT_NS)
            for way in ways
            for work in (0.0, work_ns)
        }
        took = [rehearsal.once(metered, stages, 1, dict.fromkeys(stages, (size,))) for _ in range(3)]
    for way in ways:
        idle, full = (min(one[f"{way.calls}-{work}"][size].sender_cpu for one in took) for work in (False, True))
        # how fast a busy machine counts is its own affair
        assert full - idle > size / way.chunk * work_ns / 1e9 / 10


def test_a_suite_is_priced_and_rehearsed_on_real_hosts(metered: OpenTestbed) -> None:
    profile = profile_of(
        suite("http", "https", "ipsec", question="large-files", cipher="aes128gcm", sizes={"1MB": {"blocks": 3}})
    )
    only = profile.suites[0]
    assert isinstance(only, TransferSuite)
    told, entry = Events(), SuiteEntry(name="s", figure=None, link_rate_bits_per_second=None, baseline="http")
    explanation = Explanation(profile, only, PATHS, told)
    parameters = {path: Parameters(None) if path == "http" else only.parameters for path in only.paths}
    with ExitStack() as stack:
        stack.enter_context(metered.measuring())
        bench = metered.bench("priced", stack)
        metered.payload(rehearsal.DEAR[1], profile.seed)
        deployed = {path: PATHS[path].deploy(bench, parameters[path]) for path in only.paths}
        explanation.price(metered, bench, entry, deployed)
    assert {one.path for one in entry.rehearsals} == set(only.paths)
    assert all(one.sender_cpu > 0 and one.receiver_cpu > 0 for one in entry.rehearsals)
    metrics: tuple[Metric, ...] = ("seconds", "cpu_seconds_per_gb")
    for path in ("https", "ipsec"):
        for metric in metrics:
            predicted = explanation.predict(10**6, metric, path)
            # a turn alone may have met a busy machine
            assert predicted and statistics.median(one.ratio for one in predicted) < 1, (
                "what enciphers is not cheaper than clear text"
            )
