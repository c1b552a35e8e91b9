"""First program on a host: takes the agent from standard input, checks it, and becomes it.

Run by ``find-python`` as ``python3 -I -c TEXT SIZE SHA256 TOKEN LEASE USER RUN [look]``, then SIZE bytes of a zip file
on standard input. The run's directory is on tmpfs, private to the user, and gone again if the agent does not arrive
whole. Of the usual places it is the first from which programs may be run (/dev/shm is mounted noexec on some hosts),
else the first one.

The directory is locked as soon as it is there, and the lock goes over to the agent: another agent, which may see the
same tmpfs from a host of its own, takes a directory that nobody holds for what a dead run left.
"""

import fcntl
import hashlib
import os
import shutil
import sys

PLACES = ("/dev/shm", "/tmp", "/run/user/" + str(os.getuid()), "/run", "/var/tmp")  # noqa: S108 - as main.py has them

size, sha256, token = int(sys.argv[1]), sys.argv[2], sys.argv[3]
os.umask(0o077)
with open("/proc/self/mountinfo") as mounts:  # noqa: PTH123
    kinds = {line.split()[2]: line.partition(" - ")[2].split()[0] for line in mounts}  # of file systems, by device
usable = []
for place in PLACES:
    if os.access(place, os.W_OK | os.X_OK):
        device = os.stat(place).st_dev  # noqa: PTH116
        if kinds.get("%d:%d" % (os.major(device), os.minor(device))) == "tmpfs":  # noqa: UP031
            usable.append(place)
if not usable:
    raise SystemExit("there is no tmpfs that this user may write to; looked at " + ", ".join(PLACES))
runnable = [place for place in usable if not os.statvfs(place).f_flag & os.ST_NOEXEC]
directory = (runnable + usable)[0] + "/pathproof-" + token
for _ in range(100):
    os.mkdir(directory, 0o700)  # noqa: PTH102
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # it was taken for a dead run's before it was locked
        continue
    fcntl.flock(lock, fcntl.LOCK_EX)
    if os.fstat(lock).st_nlink:
        break
    os.close(lock)  # so it was
else:
    raise SystemExit(directory + " is removed as soon as it is made")
os.set_inheritable(lock, True)
try:
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            raise SystemExit("the agent did not arrive whole")
        data += piece
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SystemExit("the agent arrived damaged")
    with open(directory + "/agent.pyz.new", "xb") as file:  # noqa: PTH123
        file.write(data)
    os.rename(directory + "/agent.pyz.new", directory + "/agent.pyz")  # noqa: PTH104
except BaseException:
    shutil.rmtree(directory)
    raise
os.execv(sys.executable, [sys.executable, "-I", directory + "/agent.pyz", directory, *sys.argv[4:]])  # noqa: S606
