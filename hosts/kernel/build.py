"""Builds so_crypt: for the lab's kernel on this machine, in the lab's image; for a host's own kernel on the host.

Debian's User Mode Linux package has no headers, and the archive seldom keeps the source of exactly its point
release. So the module is built from the nearest linux-source under the running kernel's release, and
:mod:`hosts.kernel.likeness` finds out whether that was right; if not, from the next nearest. (It does happen:
struct proto grew by two pointers between 6.12.113 and 6.12.117.) Building the lab a kernel of its own instead would
take the same download and some minutes of compiling, and the lab would no longer run Debian's kernel.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from hosts.errors import HarnessError
from hosts.kernel import likeness, linux_source
from hosts.lab.processes import end_namespaces
from hosts.progress import Progress, silent

if TYPE_CHECKING:
    from hosts.remote import RemoteHost

SOURCE = Path(__file__).parent / "so_crypt"
MODULE = "so_crypt.ko"
IN_IMAGE = Path(__file__).with_name("in-image")
MODULES = Path("usr/lib/uml/modules")
TRIES = 3  # sources, nearest first
STEP_SECONDS = 900.0
WAIT_SECONDS = 1800.0
HEADERS_SECONDS = 300.0


class NoHeaders(HarnessError):  # noqa: N818 - says what is missing, not that something broke
    """The host's kernel has no headers to build a module with; ``next_step`` says which package has them."""


@dataclass(frozen=True)
class Module:
    """A module that was built: for which kernel, from which source, and how that was found to fit."""

    path: Path
    release: str
    linux_source: str
    exact: bool
    alike: int
    seconds: float


def source_hash() -> str:
    """A digest of everything the module is made of."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE.iterdir()):
        if path.is_file():
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def cache() -> Path:
    """Where this user's modules are."""
    return platformdirs.user_cache_path("pathproof") / "modules"


def uml_release(image: Path) -> str:
    """The release of the image's User Mode Linux kernel. Raises HarnessError when it has none, or several."""
    releases = sorted(path.name for path in (image / MODULES).glob("[0-9]*"))
    if len(releases) != 1:
        raise HarnessError(f"the image {image} has {' and '.join(releases) or 'no'} User Mode Linux kernel, not one")
    return releases[0]


def for_uml(suite: str, image: Path, progress: Progress = silent) -> Module:
    """The module for the kernel of the lab's image, built now if it is not in the cache.

    Raises HarnessError when it cannot be built or the source found does not fit the kernel: then the cache is as
    it was before.
    """
    release = uml_release(image)
    kernel = hashlib.sha256((image / "usr/bin/linux.uml").read_bytes()).hexdigest()
    key = hashlib.sha256(f"{source_hash()} {kernel}".encode()).hexdigest()[:12]
    place = cache() / f"{release}-{key}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _only_builder(place.parent, progress):
            if not (place / MODULE).exists():
                _build(suite, image, release, place, progress)
            built = json.loads((place / "build.json").read_text())
    except OSError as error:
        raise HarnessError(f"cannot keep modules in {place.parent}: {error.strerror or error}") from error
    return Module(path=place / MODULE, **built)


def _build(suite: str, image: Path, release: str, place: Path, progress: Progress) -> None:
    started = time.monotonic()
    for leftover in place.parent.glob("*.building"):
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(dir=place.parent, suffix=".building"))
    try:
        progress("looking for the kernel's source", 0.0)
        archive, versions = linux_source.find(suite, release, work / "apt")
        found, tried = likeness.Likeness(0, 0, ()), list[str]()
        for version in versions[:TRIES]:
            exact = version.kernel == release
            package = archive.download(version, _part(progress, 0.05, 0.35))
            for old in (work / "linux", work / "so_crypt"):
                shutil.rmtree(old, ignore_errors=True)
            unpacked = work / "unpacked"
            unpacked.mkdir(exist_ok=True)
            linux_source.unpack(package, unpacked, _part(progress, 0.35, 0.60)).rename(work / "linux")
            package.unlink()
            shutil.copytree(SOURCE, work / "so_crypt")
            found = _compile(image, work, release, exact, _part(progress, 0.60, 1.0))
            if exact or found.good:
                break
            tried.append(f"{version.text}: {found}")
            progress(f"{version.text} is not the kernel {release}: {found}", None)
        else:
            raise HarnessError(
                f"no source in {suite} fits the lab's kernel {release}: {'; '.join(tried)}",
                next_step="build the image anew (remove it from the cache): a newer kernel may have its source",
            )
        facts = Module(
            path=place,
            release=release,
            linux_source=version.text,
            exact=exact,
            alike=found.alike,
            seconds=round(time.monotonic() - started, 1),
        )
        result = work / "result"
        result.mkdir()
        shutil.copy(work / "so_crypt" / MODULE, result)
        content = {key: value for key, value in asdict(facts).items() if key != "path"}
        (result / "build.json").write_text(json.dumps(content))
        shutil.rmtree(place, ignore_errors=True)
        result.rename(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _part(progress: Progress, start: float, end: float) -> Progress:
    """``progress`` for a part of the whole."""
    return lambda what, done: progress(what, None if done is None else start + (end - start) * done)


def _compile(image: Path, work: Path, release: str, exact: bool, progress: Progress) -> likeness.Likeness:
    """Configure the tree as the running kernel is, build the module, and unless it is exactly its source, compare."""
    makefile = work / "linux" / "Makefile"
    level = f"SUBLEVEL = {linux_source.point(release)}"
    makefile.write_text(re.sub(r"^SUBLEVEL = .*$", level, makefile.read_text(), flags=re.MULTILINE))
    make = f"make -s -C /mnt/linux ARCH=um -j{os.cpu_count() or 1}"
    progress("configuring the kernel's source", 0.0)
    _in_image(image, work, "linux.uml --showconfig >/mnt/linux/.config")
    _in_image(image, work, f"{make} olddefconfig && {make} modules_prepare")
    made = (work / "linux/include/config/kernel.release").read_text().strip()
    if made != release:
        raise HarnessError(f"the source calls itself {made}, but the lab's kernel is {release}")
    progress("building so_crypt", 0.5)
    # There is no Module.symvers without building the whole kernel: modpost can only warn. The kernel itself
    # refuses a module with a symbol that it does not have.
    _in_image(image, work, f"{make} M=/mnt/so_crypt KBUILD_MODPOST_WARN=1 modules")
    found = likeness.Likeness(0, 0, ())
    if not exact:
        progress("comparing the source with the running kernel", 0.6)
        found = _likeness(image, work, release, make)
    progress("so_crypt is built", 1.0)
    return found


def _likeness(image: Path, work: Path, release: str, make: str) -> likeness.Likeness:
    objects = " ".join(name for group in likeness.WITNESSES.values() for name in group)
    _in_image(image, work, f"{make} KBUILD_MODPOST_WARN=1 {objects}")
    disassemble = "objdump -d --no-show-raw-insn -j .text"
    theirs, ours = dict[str, likeness.Function](), dict[str, likeness.Function]()
    for module, parts in likeness.WITNESSES.items():
        shipped = f"/{MODULES}/{release}/kernel/{module}.ko"
        if not (image / shipped[1:]).exists():
            continue
        theirs |= _named(module, _in_image(image, work, f"{disassemble} {shipped}"))
        for part in parts:
            ours |= _named(module, _in_image(image, work, f"{disassemble} /mnt/linux/{part}"))
    return likeness.compare(theirs, ours)


def _named(module: str, disassembly: str) -> dict[str, likeness.Function]:
    return {f"{module}:{name}": function for name, function in likeness.functions(disassembly).items()}


def _in_image(image: Path, work: Path, script: str) -> str:
    """Output of a shell script run in the image, with ``work`` as /mnt. Raises HarnessError."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    process = subprocess.Popen(
        [
            *("unshare", *user, "--mount", "--pid", "--ipc", "--fork", "--kill-child"),
            *("/bin/sh", str(IN_IMAGE), str(image), str(work), "sh", "-ec", script),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=STEP_SECONDS)
    except subprocess.TimeoutExpired:
        raise HarnessError(f"building so_crypt took over {STEP_SECONDS:.0f} s", commands=[script]) from None
    finally:
        end_namespaces(process)
    if process.returncode:
        last = "\n".join(f"    {line}" for line in (err or out).strip().splitlines()[-12:])
        raise HarnessError(f"so_crypt could not be built:\n{last}", commands=[script])
    return out


@contextmanager
def _only_builder(directory: Path, progress: Progress) -> Iterator[None]:
    fd = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise HarnessError(
                        f"another process is still building so_crypt after {WAIT_SECONDS:.0f} s"
                    ) from None
                progress("waiting for another process that builds so_crypt", None)
                time.sleep(0.5)
        yield
    finally:
        os.close(fd)


def no_headers(release: str, os_name: str | None, host: str | None = None) -> NoHeaders:
    """The error that says which package has the headers of kernel ``release``."""
    fedora = any(word in (os_name or "") for word in ("Fedora", "Red Hat", "CentOS", "Rocky", "Alma"))
    package = f"kernel-devel-{release}" if fedora else f"linux-headers-{release}"
    tool = "dnf" if fedora else "apt-get"
    return NoHeaders(
        f"the headers of its kernel {release} are not installed, so so_crypt cannot be built",
        host=host,
        next_step=f"{tool} install {package}",
    )


def on_host(host: RemoteHost, os_name: str | None = None, progress: Progress = silent) -> str:
    """Build the module on a host for its running kernel, in the run's own directory; its path there.

    Raises NoHeaders when the kernel's headers are missing, AgentError when the build fails.
    """
    release = host.check(["uname", "-r"]).strip()
    headers = f"/lib/modules/{release}/build"
    if host.read([f"{headers}/Makefile"])[f"{headers}/Makefile"] is None:
        raise no_headers(release, os_name, host.name)
    progress(f"building so_crypt for {release}", None)
    directory = f"{host.directory}/so_crypt"
    host.check(["mkdir", "-p", directory])
    for path in sorted(SOURCE.iterdir()):
        if path.is_file():
            host.put(path.read_bytes(), f"so_crypt/{path.name}")
    host.check(build_command(headers, directory), timeout=HEADERS_SECONDS)
    return f"{directory}/{MODULE}"


def build_command(headers: str, directory: str) -> Sequence[str]:
    """What builds the module in ``directory`` with a kernel's headers."""
    return ["make", "-s", "-C", headers, f"M={directory}", "modules"]
