"""Sends a recorded list and a recorded watch again, over TLS: `python -m bench.kube.server FOLDER`.

A real API server makes 20,000 events a second at best, less than what is to be measured; so its bytes are
recorded once and sent from here as fast as the reader takes them. FOLDER holds `list`, `watch`, `chain.pem`
and `key.pem`. Prints its port.
"""

import socket
import ssl
import sys
from pathlib import Path

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PIECE = 1 << 16


def serve(folder: Path) -> None:
    """Answer one connection after the other until killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            plain, _ = listening.accept()
            try:
                with context.wrap_socket(plain, server_side=True) as client:
                    _answer(client, folder)
            except OSError:
                continue  # it had what it wanted


def _answer(client: ssl.SSLSocket, folder: Path) -> None:
    while head := _request(client):
        if b"watch=" not in head.split(b"\r\n", 1)[0]:
            body = (folder / "list").read_bytes()
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            continue
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        body = (folder / "watch").read_bytes()
        for at in range(0, len(body), PIECE):
            piece = body[at : at + PIECE]
            client.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        client.recv(1)  # held open, as a watch is, until the reader goes
        return


def _request(client: ssl.SSLSocket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        if not (piece := client.recv(PIECE)):
            return b""
        head += piece
    return head


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
