"""The kernel of User Mode Linux guests: built for the lab, or somebody's own.

Debian's own User Mode Linux kernel has no headers, and the archive seldom keeps the source of its point release, so no
module of ours could be built for it. The kernel built here has its modules, and the tree that others are built with.
"""

from __future__ import annotations

from pathlib import Path

from hosts.debian import cached
from hosts.lab import built_kernel, own_kernel
from hosts.lab.built_kernel import About, Wanted
from hosts.lab.own_kernel import OwnKernel
from hosts.modules import Target
from hosts.progress import Progress, silent


class UmlKernel(cached.Cached):
    """A kernel in use: as long as this is open, nobody removes it.

    ``path``: holds ``linux`` itself, its ``modules``, and in ``source`` what others are built with.
    """

    def __init__(self, held: cached.Cached, about: About, own: OwnKernel | None = None) -> None:
        super().__init__(held.path, held.fd)
        self.about, self._own = about, own

    def target(self, image: Path) -> Target:
        """What modules for this kernel are built with, in ``image``. Raises Refusal where its tree is gone."""
        if self._own:
            return self._own.target(image, "make -s -C /usr/src ARCH=um")
        return Target(
            image=image,
            sources=self.path,
            make="make -s -C /usr/src/source ARCH=um",
            key=self.path.name,
            package="linux-source",
            version=self.about.version,
        )


def obtain(kernel: Wanted, image: Path, progress: Progress = silent) -> UmlKernel:
    """A kernel built for the lab. Raises Refusal."""
    held = built_kernel.obtain(kernel, image, progress)
    return UmlKernel(held, held.about)


def keep(own: OwnKernel, progress: Progress = silent) -> UmlKernel:
    """A kernel of somebody's own, with its modules. Raises Refusal."""
    held = own_kernel.keep(own, "linux", "modules", lambda _place: None, progress)
    return UmlKernel(held, About(kernel_release=own.release, version=own.release), own)
