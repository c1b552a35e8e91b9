"""Dask distributed as a fleet uses it: a cluster in this process, one that exists, and a site's workers.

A testbed is a resource of quantity 1 that is called as the testbed is. Between machines everything is TLS with
certificates of both sides: whoever may send tasks to a worker is whoever it runs as, at its site. In this process
there is no network at all, so that no other user of the machine can.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Scheduler, Security, SpecCluster, Worker

from hosts import certificate
from hosts.errors import ConfigError
from suites.fleet.errand import Site

FILES = ("ca.pem", "cert.pem", "key.pem")
"""In the folder of certificates: who is trusted, who one is, and the secret that proves it."""
CONFIG = {
    "distributed.scheduler.allowed-failures": 0,  # what was lost with its worker is repeated where it is counted
    "distributed.scheduler.work-stealing": False,  # a testbed has one worker
    "distributed.scheduler.worker-ttl": None,
    "distributed.worker.profile.enabled": False,
    "distributed.comm.timeouts.connect": "60s",
    "distributed.comm.timeouts.tcp": "300s",  # a machine that is busy, or a line that is down for minutes, ends no run
    "distributed.dashboard.link": "http://127.0.0.1:{port}/status",
    "distributed.admin.large-graph-warning-threshold": "100MB",
}
CONNECT_SECONDS = 30
CLOSE_SECONDS = 40
"""A worker waits so long for its run to end with it."""
PAUSE_SECONDS = 5
"""Between two tries to reach a scheduler."""


def certificates(folder: Path) -> None:
    """Make a certificate that signs itself, for a scheduler, its workers and its clients to share.

    Raises ConfigError where there is one.
    """
    if any((folder / name).exists() for name in FILES):
        raise ConfigError(f"{folder} has certificates already", next_step="name another folder")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    public, secret = certificate.pair(IPv4Address("127.0.0.1"))  # Dask asks who signed it, and for no name
    for name, content in zip(FILES, (public, public, secret), strict=True):
        with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
            file.write(content)


def security(folder: Path) -> Security:
    """Dask's own TLS from a folder of certificates. Raises ConfigError where it lacks one."""
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise ConfigError(
            f"{folder} has no {', '.join(missing)}",
            next_step="python -m suites certificate DIRECTORY makes certificates, for all machines to share",
        )
    ca, cert, key = (str(folder / name) for name in FILES)
    roles = {f"tls_{role}_{what}": path for role in ("client", "scheduler", "worker")
             for what, path in (("cert", cert), ("key", key))}  # fmt: skip
    return Security(tls_ca_file=ca, require_encryption=True, **roles)


def checked(address: str) -> str:
    """A scheduler's address. Raises ConfigError for one without TLS: anybody could then run anything at the sites."""
    if not address.startswith("tls://"):
        raise ConfigError(
            f"{address} is no address with TLS",
            next_step="start the scheduler with --protocol tls, name tls://HOST:PORT",
        )
    return address


def worker_options(site: Site) -> dict[str, Any]:
    """Of a testbed's worker: one run at a time, and never ended for its memory."""
    return {
        "name": site.testbed,
        "resources": {site.testbed: 1},
        "nthreads": 1,
        "memory_limit": 0,
        "plugins": (site,),
        "dashboard": False,
    }


@contextmanager
def local(sites: Sequence[Site]) -> Iterator[Client]:
    """A client of a cluster in this process, with a worker for each testbed."""
    workers = {site.testbed: {"cls": Worker, "options": worker_options(site)} for site in sites}
    scheduler = {"cls": Scheduler, "options": {"protocol": "inproc://", "dashboard_address": "127.0.0.1:0"}}
    with (
        dask.config.set(CONFIG),
        SpecCluster(workers, scheduler, silence_logs=logging.CRITICAL) as cluster,
        Client(cluster) as client,
    ):
        yield client


def remote(address: str, tls: Path) -> Client:
    """A client of a scheduler that exists. Raises ConfigError where it cannot be reached so."""
    dask.config.set(CONFIG | {"distributed.dashboard.link": "http://{host}:{port}/status"})
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # whoever drives says that a connection is lost
    try:
        return Client(checked(address), security=security(tls), timeout=CONNECT_SECONDS)
    except OSError as error:
        raise ConfigError(
            f"no scheduler answers at {address}: {error}", next_step="is it up, and are these its certificates?"
        ) from error


def leave(client: Client, seconds: float | None = None) -> None:
    """Close a client, in so many seconds.

    Of one whose connection was lost this raises whatever its last try to come back ended with: CommClosedError, or
    ValueError of tornado's start_tls. Nobody needs it any more.
    """
    with suppress(Exception):
        client.close(seconds)


@contextmanager
def connected(connect: Callable[[], Client]) -> Iterator[Client]:
    """A client that is left afterwards, whatever became of its connection. Raises what ``connect`` does."""
    client = connect()
    try:
        yield client
    finally:
        leave(client)


async def serve(
    address: str, security: Security, sites: Sequence[Callable[[], Site]], said: Callable[[str], None]
) -> None:
    """Offer testbeds to a scheduler until SIGTERM or Ctrl-C, each whatever becomes of the others."""
    dask.config.set(CONFIG)
    logging.getLogger("distributed").setLevel(logging.ERROR)  # seventeen lines for each time that it is reached
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.gather(*(_offer(address, security, site, said, stopping) for site in sites))


async def _offer(
    address: str,
    security: Security,
    site: Callable[[], Site],
    said: Callable[[str], None],
    stopping: asyncio.Task[Any],
) -> None:
    """Offer one testbed until all is to stop; wait for the scheduler where it is away, or goes away."""
    while not stopping.done():
        worker = Worker(address, security=security, **worker_options(site()))
        why = "its connection to the scheduler is gone, and its run was ended"
        try:
            await _until(_started(worker), stopping)
            if not stopping.done():
                said(f"{worker.name}: offered to {address}")
                await _until(worker.finished(), stopping)
        except (OSError, RuntimeError) as error:  # for one, the scheduler has another worker of that name
            why = f"not taken by {address}: {error.__cause__ or error}"
        finally:
            await worker.close(timeout=CLOSE_SECONDS)
        if not stopping.done():
            said(f"{worker.name}: {why}; trying again")
            await asyncio.wait([stopping], timeout=PAUSE_SECONDS)


async def _started(worker: Worker) -> None:
    await worker


async def _until(coming: Coroutine[Any, Any, None], stopping: asyncio.Task[Any]) -> None:
    """Wait for something, or until all is to stop. Raises what it raises."""
    work = asyncio.create_task(coming)
    await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        work.result()
    else:
        work.cancel()


def offered(client: Client) -> set[str]:
    """The testbeds that workers offer now. Dask takes no second worker of one name."""
    workers: Mapping[str, Mapping[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
    return {str(name) for worker in workers.values() for name, amount in worker["resources"].items() if amount}
