"""``https-qat``: TLS in user space by OpenSSL's QAT engine: its software mode (ipsec-mb), or a card behind it.

The same nginx as ``https`` with one thing changed: OpenSSL is told to take its ciphers from qatengine. The engine falls
back to OpenSSL's own functions without a word, so its encryption is counted where it is done; see docs/qat.md.
"""

from __future__ import annotations

from dataclasses import replace

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed, Observed, Witness
from harness.api.steps import Steps
from harness.api.words import Words
from harness.servers import cards, datapath, gnutls, nginx, qat_engine, requirements
from harness.servers.requirements import no_cipher_suite
from hosts.crypto import qat
from hosts.errors import Refusal
from hosts.facts import Facts


class HttpsQat(DataPath):
    name = "https-qat"
    words = Words(
        label="TLS in user space, by Intel's QAT engine",
        subject="Encrypting TLS in user space by the QAT engine (https-qat)",
        short="HTTPS on QAT",
    )
    speaks_tls = True
    prices = (datapath.PRICES, qat_engine.PRICES, gnutls.PRICES)

    def impossible(self, parameters: Parameters) -> str | None:
        if parameters.driver != "any":
            return "TLS in user space does not use a driver of the kernel's"
        if parameters.cipher is None or parameters.cipher.evp not in qat.LISTED:
            return f"qatengine is tried with AES-GCM only, not with {parameters.title}"
        if (parameters.requests > 1 or parameters.at_once) and parameters.connection != "kept":
            return (
                "handshakes are what is asked here, and qatengine does those in batches of asynchronous jobs: that "
                "needs an asynchronous server, which nginx is not"
            )
        return no_cipher_suite(parameters)

    def unsupported(self, parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
        programs = ("nginx", "openssl", "qatengine")
        cipher = parameters.cipher.evp if parameters.cipher else None
        engine = sender.qat
        if engine is None or cipher is None:
            missing = requirements.missing(sender, receiver, sender_programs=(*programs, "cc"))
            return requirements.together(missing, requirements.one_cipher_suite(parameters, receiver))
        who = engine.gcm.get(cipher)
        proof = qat_engine.card(sender)
        return requirements.together(
            requirements.missing(sender, receiver, sender_programs=programs if who == "card" else (*programs, "cc")),
            requirements.one_cipher_suite(parameters, receiver),
            qat.why_not(engine, cipher),
            "nothing counts the card's work" + (f": {proof.why_not}" if proof else "")
            if who == "card" and not (proof and proof.counters)
            else None,
        )

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        if parameters.cipher is None or parameters.cipher.evp is None:
            raise Refusal(f"{self.name} needs a cipher")
        attached = qat_engine.attach(bench, self.name, parameters.cipher.evp)
        deployed = nginx.serve_tls(
            bench, self.name, parameters, by="openssl", sendfile=True, environment=attached.environment
        )

        def verify(seen: Observed) -> Witness:
            witness = deployed.verify(seen)
            due = cards.due(attached.proof, nginx.records(seen)) if attached.proof else 1
            reason = witness.reason or qat_engine.unproven(attached, seen.sender, seen.payload * seen.requests, due)
            return Witness(witness.facts | qat_engine.facts(attached, seen.sender), reason)

        return replace(
            deployed,
            verify=verify,
            sender_counters=deployed.sender_counters | attached.counters,
            driver_found=attached.does,
        )

    def steps(self, parameters: Parameters) -> Steps | None:
        return nginx.tls_steps("openssl_qat")


PATH = HttpsQat()
