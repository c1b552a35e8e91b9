"""``https-qat``: TLS in user space by OpenSSL's QAT engine: its software mode (ipsec-mb), or a card behind it.

The same nginx as ``https`` with one thing changed: OpenSSL is told to take its ciphers from qatengine. The engine falls
back to OpenSSL's own functions without a word, so its encryption is counted where it is done; see docs/qat.md.
"""

from __future__ import annotations

from dataclasses import replace

from harness.bench import Bench
from harness.ceiling import Step, Steps
from harness.paths import Deployed, Observed, Witness, _card, _need, _nginx, _qat
from harness.paths.https import no_suite
from harness.setup import Setup
from hosts import qat
from hosts.errors import HarnessError
from hosts.facts import Facts


class HttpsQat:
    name = "https-qat"
    title = "HTTPS (TLS by the QAT engine)"
    clear = False
    builds: tuple[str, ...] = ()
    buffers: tuple[int, ...] = ()

    def impossible(self, setup: Setup) -> str | None:
        if setup.driver != "any":
            return "TLS in user space does not use a driver of the kernel's"
        if setup.cipher is None or setup.cipher.evp not in qat.LISTED:
            return f"qatengine is tried with AES-GCM only, not with {setup.title}"
        if setup.requests > 1 and setup.connection != "kept":
            return (
                "handshakes are what is asked here, and qatengine does those in batches of asynchronous jobs: that "
                "needs an asynchronous server, which nginx is not"
            )
        return no_suite(setup)

    def unsupported(self, setup: Setup, sender: Facts, receiver: Facts) -> str | None:
        programs = ("nginx", "openssl", "qatengine")
        cipher = setup.cipher.evp if setup.cipher else None
        engine = sender.qat
        if engine is None or cipher is None:
            missing = _need.missing(sender, receiver, sender_programs=(*programs, "cc"))
            return _need.together(missing, _need.one_suite(receiver))
        who = engine.gcm.get(cipher)
        proof = _qat.card(sender)
        return _need.together(
            _need.missing(sender, receiver, sender_programs=programs if who == "card" else (*programs, "cc")),
            _need.one_suite(receiver),
            qat.why_not(engine, cipher),
            "nothing counts the card's work" + (f": {proof.why_not}" if proof else "")
            if who == "card" and not (proof and proof.counters)
            else None,
        )

    def deploy(self, bench: Bench, setup: Setup) -> Deployed:
        if setup.cipher is None or setup.cipher.evp is None:
            raise HarnessError(f"{self.name} needs a cipher")
        attached = _qat.attach(bench, self.name, setup.cipher.evp)
        deployed = _nginx.serve_tls(
            bench, self.name, setup, ktls=False, sendfile=True, environment=attached.environment
        )

        def judge(seen: Observed) -> Witness:
            said = deployed.judge(seen)
            payload = seen.payload * seen.requests
            records = payload // _nginx.RECORD_BYTES
            due = _card.due(attached.proof, records) if attached.proof else 1
            reason = said.reason or _qat.unproven(attached, seen.sender, payload, due)
            return Witness(said.facts | _qat.facts(attached, seen.sender), reason)

        return replace(
            deployed,
            judge=judge,
            sender_counters=deployed.sender_counters | attached.counters,
            driver_found=attached.does,
        )

    def steps(self, setup: Setup) -> Steps | None:
        record = _nginx.RECORD_BYTES
        return Steps(
            sender=(Step("read", chunk=2 * record), Step("openssl_qat", chunk=record), Step("tcp_copy", chunk=record)),
            receiver=(Step("receiver_gnutls", chunk=record),),
        )


PATH = HttpsQat()
