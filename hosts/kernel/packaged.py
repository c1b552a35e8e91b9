"""Builds so_crypt for a distribution's kernel whose headers lie unpacked beside a lab's image, in that image.

The guests see the headers too, and could build the module themselves; but an emulated processor takes a minute and
a half for it, this machine's own a few seconds.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from hosts.errors import HarnessError
from hosts.kernel.build import MODULE, NOT_BUILT, SOURCE, Module, cache, only_builder, source_hash
from hosts.lab import chroot
from hosts.lab.guest_kernel import GuestKernel
from hosts.progress import Progress, silent


def module(image: Path, kernel: GuestKernel, progress: Progress = silent) -> Module:
    """The module for guests with this image and kernel; built now if not in the cache. Raises HarnessError."""
    about = kernel.about
    place = cache() / f"{about.release}-{about.vmlinuz_sha256[:12]}"
    built = place / f"so_crypt-{source_hash()[:12]}.ko"
    started = time.monotonic()
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with only_builder(place.parent, progress):
            if not built.exists():
                progress(f"building so_crypt for {about.release}", None)
                _build(image, kernel, built)
    except OSError as error:
        raise HarnessError(f"cannot keep modules in {place}: {error.strerror or error}") from error
    return Module(
        path=built,
        release=about.release,
        package="linux-headers",
        version=about.version,
        exact=True,
        alike=0,
        seconds=round(time.monotonic() - started, 1),
    )


def _build(image: Path, kernel: GuestKernel, target: Path) -> None:
    """Build it and put it in place of what an earlier version of the source was built into."""
    for leftover in target.parent.glob("*.building"):
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(dir=target.parent, suffix=".building"))
    try:
        shutil.copytree(SOURCE, work / "so_crypt")
        make = f"make -s -C /usr/src/linux-headers-{kernel.about.release} M=/mnt/so_crypt modules"
        chroot.run(image, work, make, NOT_BUILT, sources=kernel.sources)
        for old in target.parent.glob("so_crypt-*.ko"):
            old.unlink()
        (work / "so_crypt" / MODULE).rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
