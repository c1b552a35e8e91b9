"""nginx as a file server for several paths: one worker, sendfile, one JSON log line a request."""

from __future__ import annotations

from collections.abc import Sequence

from harness.bench import Bench
from hosts import changes

CONFIGURATION = """\
daemon off;
worker_processes 1;
{user}pid {run}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    log_format witness escape=json '{{"path":"$uri","status":$status,"bytes":$body_bytes_sent,'
        '"connection":$connection,"protocol":"$ssl_protocol","suite":"$ssl_cipher"}}';
    access_log {run}/access.log witness;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    server {{
        listen {listen};
        root {root};
{server}
    }}
}}
"""


def serve(bench: Bench, name: str, port: int, tls: Sequence[str] = ()) -> str:
    """Start nginx on the sender at ``port``; the path of its log. ``tls``: lines for the server block."""
    run = f"{bench.directory}/{name}"
    bench.on_sender.apply(changes.directory(run))
    address = f"[{bench.address}]" if bench.address.version == 6 else str(bench.address)
    text = CONFIGURATION.format(
        run=run,
        user="user root;\n" if bench.sender.uid == 0 else "",
        listen=f"{address}:{port}" + (" ssl" if tls else ""),
        root=bench.payload_directory,
        server="".join(f"        {line}\n" for line in tls),
    )
    configuration = bench.sender.put(text.encode(), f"{bench.folder}/{name}/nginx.conf")
    bench.on_sender.serve(
        f"nginx for {name}",
        ["nginx", "-e", "stderr", "-p", run, "-c", configuration],
        str(bench.address),
        port,
        f"{bench.folder}/{name}",
    )
    return f"{run}/access.log"
