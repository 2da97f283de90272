"""How each proxy is started. A new one is a function from a Site to a Launch, and a line in PEERS."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.proxy.tools import BenchError

__all__ = [
    "AIOHTTP",
    "DIRECT",
    "GROVE",
    "NGINX",
    "NO_NGINX",
    "PEERS",
    "Launch",
    "Peer",
    "Site",
    "custom",
    "nginx_program",
]

DIRECT, NGINX, GROVE, AIOHTTP = "direct", "nginx", "grove", "aiohttp"


class Site(msgspec.Struct, frozen=True):
    """Where a proxy listens, what it stands in front of, and where it may write."""

    port: int
    admin_port: int
    workers: tuple[str, ...]  # host:port
    folder: Path

    @property
    def urls(self) -> str:
        return ",".join(f"http://{worker}" for worker in self.workers)


class Launch(msgspec.Struct, frozen=True):
    command: list[str]
    env: dict[str, str] = {}


Peer = Callable[[Site], Launch]

NO_NGINX = "NoNginx: the anchor is missing; install it (Debian: apt install nginx-light)"
NGINX_CONF = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.err warn;
worker_rlimit_nofile 65536;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    client_max_body_size 0; client_body_buffer_size 512k;
    keepalive_requests 100000000; keepalive_timeout 600s;
    tcp_nodelay on;
    upstream workers {{
        {servers}
        keepalive 2048; keepalive_requests 100000000; keepalive_timeout 600s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://workers; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_buffering off; proxy_read_timeout 600s;
        }}
    }}
}}
"""


def nginx_program() -> str | None:
    return shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def _nginx(site: Site) -> Launch:
    program = nginx_program()
    if program is None:
        raise BenchError(NO_NGINX)
    servers = "\n        ".join(f"server {worker} max_fails=0;" for worker in site.workers)
    conf = site.folder / "nginx.conf"
    conf.write_text(NGINX_CONF.format(folder=site.folder, port=site.port, servers=servers))
    return Launch([program, "-c", str(conf), "-p", str(site.folder), "-e", str(site.folder / "nginx.err")])


def _grove(site: Site) -> Launch:
    program = Path(sys.executable).parent / "grove-dp"
    if not program.exists():
        raise BenchError(f"NotBuilt: {program} is not there; run `make dev`")
    faces = ["--host", "127.0.0.1", "--port", str(site.port), "--admin-port", str(site.admin_port)]
    return Launch([str(program), "serve", *faces, "--workers", site.urls, "--policy", "round_robin"])


def _aiohttp(site: Site) -> Launch:
    return Launch([sys.executable, "-m", "bench.proxy.aiohttp_proxy", str(site.port), site.urls])


def custom(command: str) -> Peer:
    """Any other proxy: a command line with {port}, {admin_port}, {workers} (host:port,...) and {urls}."""

    def launch(site: Site) -> Launch:
        places = {"port": site.port, "admin_port": site.admin_port, "urls": site.urls}
        words = shlex.split(command)
        return Launch([word.format(**places, workers=",".join(site.workers)) for word in words])

    return launch


PEERS: dict[str, Peer] = {NGINX: _nginx, GROVE: _grove, AIOHTTP: _aiohttp}
