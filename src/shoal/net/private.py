"""Sockets between the processes of one installation: Unix sockets that their user alone can open."""

import os
import socket
from pathlib import Path


def listen(path: Path) -> socket.socket:
    """A listening Unix socket that only this user can reach; a dead one at `path` is replaced. Raises OSError, also when one is alive."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise FileExistsError(f"another process already serves at {path}")
        path.unlink()
    mask = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(mask)
    sock.listen(1024)
    return sock
