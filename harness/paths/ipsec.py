"""``ipsec``: nginx and sendfile over ESP transport mode (xfrm). With 3DES the closest mainline relative of SO_CRYPT."""

from __future__ import annotations

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.api.steps import Step, Steps, Way
from harness.api.words import Words
from harness.servers import datapath, esp, ipsec


class Ipsec(DataPath):
    name = "ipsec"
    words = Words(
        label="HTTP over IPsec (ESP)",
        subject="Encrypting below TCP with IPsec (ipsec)",
        short="IPsec",
        order=40,
        model="scheme",
    )
    speaks_esp = True
    prices = (datapath.PRICES, esp.PRICES)
    impossible = staticmethod(ipsec.impossible)
    unsupported = staticmethod(ipsec.unsupported)

    def deploy(self, bench: Bench, parameters: Parameters) -> Deployed:
        return ipsec.deploy(bench, self.name, parameters)

    def steps(self, parameters: Parameters) -> Steps | None:
        return Steps(
            sender=(Step("esp", chunk=ipsec.PACKET_BYTES),),
            receiver=(Step("receiver_esp", chunk=ipsec.PACKET_BYTES),),
            way=Way("packets", ipsec.PACKET_BYTES),
        )


PATH = Ipsec()
