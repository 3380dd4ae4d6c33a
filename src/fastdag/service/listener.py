"""Where the service listens: the socket's file and its lock, TCP ports, and the files with token and certificate."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import socket
import ssl
import stat
from pathlib import Path

from fastdag.errors import FastDAGError

SOCKET_PATH = 107  # bytes, of sockaddr_un
TOKEN = 1024  # bytes
# Two minutes: asked first after a minute of silence, then four times.
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


class ListenError(FastDAGError, OSError):
    """The service cannot listen where it should."""


class AlreadyServedError(ListenError):
    """Another service listens there."""


class SocketFile:
    """A Unix socket in the file system that belongs to one service at a time.

    The lock on the file beside it, which ends with the process however it ends, says whether the service lives: so a
    socket that was left behind is told from one that is served, and of two services that start at the same moment one
    wins.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    path : Path
        Absolute.

    Raises
    ------
    AlreadyServedError
        If another one listens there.
    ListenError
        If that is no place for a socket.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_path = path.with_name(path.name + ".lock")
        if len(os.fsencode(path)) > SOCKET_PATH:
            raise ListenError(f"a socket's path is at most {SOCKET_PATH} bytes long; choose a shorter one than {path}")
        self._lock = self._locked()
        try:
            self.socket = self._bound()
        except BaseException:
            self._unlock()
            raise
        # Only now: a path may be too long for a socket from elsewhere; and the service may go elsewhere.
        self.path, self._lock_path = path.absolute(), self._lock_path.absolute()

    def _locked(self) -> int:
        while True:
            try:
                lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                raise ListenError(f"cannot listen at {self.path}: {error.strerror}") from error
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.pread(lock, 20, 0).decode(errors="replace").strip()
                os.close(lock)
                raise AlreadyServedError(
                    f"a service listens at {self.path} already" + (f", process {pid}" if pid else "")
                ) from None
            # Its last owner may have removed the file between our opening and locking it.
            try:
                if os.path.samestat(os.fstat(lock), os.stat(self._lock_path)):
                    os.ftruncate(lock, 0)
                    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
                    return lock
            except FileNotFoundError:
                pass
            os.close(lock)

    def _bound(self) -> socket.socket:
        """Bind, after the socket of a service that is dead was taken away."""
        try:
            there = os.lstat(self.path)
        except FileNotFoundError:
            pass
        else:
            if not stat.S_ISSOCK(there.st_mode):
                raise ListenError(f"{self.path} is there and no socket; move it away or choose another --socket")
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1.0)
                try:
                    probe.connect(str(self.path))
                except ConnectionRefusedError:
                    os.unlink(self.path)
                except OSError as error:
                    raise ListenError(f"cannot tell who listens at {self.path}: {error.strerror or error}") from error
                else:
                    raise AlreadyServedError(f"another program listens at {self.path}; choose another --socket")
        listening = socket.socket(socket.AF_UNIX)
        # Never open to others, not for a moment. Nothing else makes files now: no other thread runs yet.
        mask = os.umask(0o177)
        try:
            listening.bind(str(self.path))
        except OSError as error:
            listening.close()
            raise ListenError(f"cannot listen at {self.path}: {error.strerror}") from error
        finally:
            os.umask(mask)
        self._inode = os.lstat(self.path).st_ino
        listening.setblocking(False)
        return listening

    def close(self) -> None:
        """Take the socket and its lock away, unless somebody has put something else in its place."""
        self.socket.close()
        try:
            if os.lstat(self.path).st_ino == self._inode:
                os.unlink(self.path)
        except FileNotFoundError:
            pass
        self._unlock()

    def _unlock(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._lock), os.lstat(self._lock_path)):
                os.unlink(self._lock_path)
        os.close(self._lock)


def private_directory(path: Path) -> None:
    """Make a directory that is ours alone, or see that it is.

    Raises
    ------
    ListenError
        If it belongs to somebody else, is open to others or is no directory.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    there = path.lstat()
    if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.getuid() or there.st_mode & 0o077:
        raise ListenError(
            f"{path} is not a directory of mode 0700 that belongs to user {os.getuid()}; "
            "remove it, or choose another --socket"
        )


def listen_tcp(host: str, port: int, loopback: bool = False) -> list[socket.socket]:
    """Listen on TCP, at all addresses that the host's name has on this machine, and at the same port.

    `loopback`: at no others than those that stay on this machine, whatever `/etc/hosts` says.

    Raises
    ------
    ListenError
        If that is not possible.
    """
    listening: list[socket.socket] = []
    missing: OSError | None = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = dict.fromkeys(
            (family, address)
            for family, _, _, _, address in found
            if not loopback or ipaddress.ip_address(address[0]).is_loopback
        )
        for family, (name, _, *rest) in addresses:
            number = listening[0].getsockname()[1] if listening else port  # for port 0 the kernel chooses one
            try:
                listening.append(_bound_tcp(family, (name, number, *rest), alone=len(addresses) == 1))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = error  # as is localhost's second address on a machine without IPv6
        if not listening:
            raise missing or OSError(errno.EADDRNOTAVAIL, "it has no address on the loopback interface")
    except OSError as error:
        for one in listening:
            one.close()
        raise ListenError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listening


def _bound_tcp(family: int, address: tuple[str | int, ...], alone: bool) -> socket.socket:
    """Bind to one address; an IPv6 one that is `alone` may take calls by IPv4 as well, as the system has it."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What is accepted inherits this: a waiter whose machine is gone without a word is not waited for any longer.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
        if family == socket.AF_INET6 and not alone:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def read_token(path: Path) -> bytes:
    """Give the token in a file that nobody else can read.

    Raises
    ------
    ListenError
        If there is none, it is short, or others may read it.
    """
    try:
        with path.open("rb") as file:
            there = os.fstat(file.fileno())
            token = file.read(TOKEN + 2).strip()
    except OSError as error:
        raise ListenError(f"cannot read the token file {path}: {error.strerror}") from error
    if there.st_mode & 0o077:
        raise ListenError(f"others may read or write the token file {path}; chmod 600 {path}")
    if there.st_uid not in (os.getuid(), 0):
        raise ListenError(f"the token file {path} belongs to user {there.st_uid}; make one of your own")
    if not 16 <= len(token) <= TOKEN or not all(0x21 <= byte <= 0x7E for byte in token):
        raise ListenError(
            f"{path} must hold 16 to {TOKEN} printable characters of ASCII, no blanks; openssl rand -hex 32 makes some"
        )
    return token


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Take up a certificate, with the chain behind it, and its key.

    Raises
    ------
    ListenError
        If they cannot be read, do not belong together, or the key asks for a pass phrase.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password="")  # given, or it would ask for one on the terminal
    except OSError as error:
        raise ListenError(f"cannot use the certificate {cert} with the key {key}: {error.strerror or error}") from error
    return context
