"""First program on a host: takes the agent from standard input, checks it, and becomes it.

Run as ``python3 -I -c TEXT SIZE SHA256 TOKEN LEASE``, then SIZE bytes of a zip file on standard input. The run's
directory is on tmpfs, private to the user, and gone again if the agent does not arrive whole.
"""

import hashlib
import os
import shutil
import sys

size, sha256, token, lease = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
directory = "/dev/shm/pathproof-" + token  # noqa: S108
os.umask(0o077)
os.mkdir(directory, 0o700)  # noqa: PTH102
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
os.execv(sys.executable, [sys.executable, "-I", directory + "/agent.pyz", directory, lease])  # noqa: S606
