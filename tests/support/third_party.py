"""A package of somebody else with a data path, and a profile for it, as an installer would leave it in a folder."""

from __future__ import annotations

from pathlib import Path

NAME = "http-read"
PATH = '''"""``http-read``: nginx that reads and writes, nothing encrypted."""

from harness.api.path import DataPath, Deployed
from harness.api.prices import PriceSource
from harness.api.steps import Price, Step, Steps
from harness.api.words import Words
from harness.servers import datapath, nginx, request_log, requirements

NAP = PriceSource({"nap": "a nap between two writes"}, lambda asked: {"nap": Price(0.0, 0.0)})


class HttpRead(DataPath):
    name = "http-read"
    words = Words(label="nginx without sendfile", short="reading HTTP", baseline="HTTP that reads and writes", order=5)
    clear = True
    prices = (datapath.PRICES, NAP)

    def impossible(self, parameters):
        return "it never resumes" if parameters.connection == "resumed" else None

    def unsupported(self, parameters, sender, receiver):
        return requirements.missing(sender, receiver, sender_programs=("nginx",))

    def deploy(self, bench, parameters):
        port = bench.port()
        served = nginx.serve(bench, self.name, port, sendfile=False)
        base = bench.base_url("http", port)
        return Deployed(
            url=lambda name: f"{base}/{name}",
            log=nginx.access_log(bench, self.name),
            server=served.number,
            verify=request_log.check,
        )

    def steps(self, parameters):
        return Steps(sender=(Step("read"), Step("nap"), Step("tcp_copy")))


PATH = HttpRead()
'''
PROFILE = """\
description = "a path of another package against plain HTTP"
rounds = 2
[[suites]]
name = "elsewhere"
question = "large-files"
cipher = "3des"
link_rate = "unshaped"
baseline = "http"
paths = ["http", "http-read"]
sizes = { "1MB" = { blocks = 3 } }

[[suites]]
name = "elsewhere-resumed"
question = "small-files"
cipher = "3des"
connection = "resumed"
requests = 5
link_rate = "unshaped"
baseline = "http"
paths = ["http", "http-read"]
sizes = { "15B" = { blocks = 2 } }
"""


def install(folder: Path) -> Path:
    """Leave the package in a folder, for a Python that has it on its path; the profile, in another folder."""
    told = folder / "http_read-1.0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: http-read\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[pathproof.paths]\nhttp-read = http_read:PATH\n")
    (folder / "http_read.py").write_text(PATH)
    profile = folder.with_name("profiles") / "elsewhere.toml"
    profile.parent.mkdir()
    profile.write_text(PROFILE)
    return profile
