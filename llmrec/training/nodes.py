"""The processes of a launch, on one machine or several: they meet, and none waits for one that is lost.

Beside the connections of the backend each process has one to the first process. It says at once that a process ended,
and why, and within a minute that its machine is gone: whatever the backend, and whatever the others are doing.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from llmrec.console import complain, notice
from llmrec.errors import ConfigError, LlmrecError, without_secrets
from llmrec.processes import first_to_say, is_first_process, local_processes, num_processes

__all__ = ["join", "require_same", "require_shared", "together"]

MEET_S: Final = 300  # until all processes are there; later ones have ended, or cannot reach the first
HELLO_S: Final = 10
WAIT_S: Final = 6 * 3600  # for one process that works while the others wait, as where the first one scores
SILENT_S: Final = 15  # before a machine that says nothing is asked whether it is there, and between its three answers
ASKED: Final = 3
LONGEST: Final = 1 << 16  # bytes of what one says to another
GRACE_S: Final = 2.0  # an error of a collective is one of a lost process, of which the watch says more
_ADDRESS_OF: Final = 0x8915  # SIOCGIFADDR of Linux


@dataclass
class _Watch:
    """Connections of this process: those of all others where it is the first, else that to the first.

    Attributes:
        name: Of this process, for people.
        peers: Connections, each with the name of the process there.
        working: Whether it may still wait for others.
        ended: Whether its main thread is about to say why it ends.
    """

    name: str
    peers: dict[socket.socket, str] = field(default_factory=dict)
    working: bool = False
    ended: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, **what: Any) -> None:
        """Send something to all peers; who is not there any more is heard of elsewhere."""
        line = f"{json.dumps(what)}\n".encode()
        for peer in self.peers:
            with suppress(OSError):
                peer.sendall(line)

    def work(self, working: bool) -> None:
        """Say that this process is at work, or that nobody needs it any more."""
        self.working = working
        self.tell(working=working)

    def failed(self, reason: str) -> None:
        """Say why this process ends."""
        with self.lock:
            self.ended = True
            self.tell(error=f"{self.name}: {reason}")

    def listen(self, peer: socket.socket) -> None:
        """Hear a peer until it ends; if that is too early, this process ends as well."""
        said: dict[str, Any] = {}
        try:
            while "error" not in said and (line := _line(peer)):
                said = json.loads(line)
        except (OSError, ValueError):
            said = {}
        if "error" in said:
            self.end(str(said["error"]))
        elif said.get("working", True):
            lost = f"{self.peers[peer]} is gone: it was killed, or its machine or network failed"
            self.end(f"{lost}; a training goes on from its last checkpoint with --resume, with fewer processes too")

    def end(self, reason: str) -> None:
        """End this process with one line a machine, unless it is done or ends by itself."""
        with self.lock:
            if self.ended or not self.working:
                return
            self.tell(error=reason)
            if first_to_say():
                complain(f"error: {reason}")
                time.sleep(GRACE_S / 2)  # while the others here find it said
            with suppress(OSError, ValueError):
                sys.stdout.flush()
            os._exit(2)  # the main thread may be waiting in a library, for hours


def _line(peer: socket.socket) -> bytes:
    """The next line; less at the end. No buffered file: it would end the interpreter badly with a thread inside."""
    line = b""
    while not line.endswith(b"\n") and len(line) < LONGEST and (byte := peer.recv(1)):
        line += byte
    return line


_watches: list[_Watch] = []


def join() -> None:
    """Meet the other processes of the launch, where there are any and that was not yet done.

    Raises:
        ConfigError: they do not meet, or the environment is not as a launcher makes it.
    """
    if num_processes() == 1 or _watches:
        return
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env
    from torch import distributed

    from llmrec.training.devices import launch_errors, name_processor

    _name_interface()
    name_processor()
    with launch_errors(), _meeting():
        cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
        chosen: dict[str, Any] = {"backend": "gloo"} if cpu else {}
        state = PartialState(cpu, timeout=timedelta(seconds=MEET_S), **chosen)
    if not distributed.is_initialized():
        return
    with suppress(AttributeError):  # torch has no public name for it
        distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=WAIT_S))
    watch = _Watch(f"process {state.process_index} of {state.num_processes} ({socket.gethostname()})")
    _watches.append(watch)
    try:
        _connect(watch, state)
    except OSError as error:
        notice(f"{watch.name} is not watched ({error}); if it is lost, the others notice after {WAIT_S // 3600} hours")


@contextmanager
def _meeting() -> Iterator[None]:
    from torch.distributed import DistError

    where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    try:
        yield
    except (DistError, RuntimeError, TimeoutError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ConfigError(
            f"the {num_processes()} processes of this launch did not meet at {where} ({reason}); start the same "
            "command on each machine with its own --machine_rank, and see that all reach that address"
        ) from error


def _connect(watch: _Watch, state: Any) -> None:
    """Connect all processes to the first; each connection is heard by a thread of its own.

    Raises:
        OSError: a connection is refused, or does not come.
    """
    from accelerate.utils import broadcast_object_list

    first = os.environ.get("MASTER_ADDR", "127.0.0.1")
    told: list[Any] = [None, None]
    with socket.create_server(("", 0)) if state.is_main_process else socket.socket() as server:
        if state.is_main_process:
            told = [server.getsockname()[1], secrets.token_hex(16)]
        port, token = broadcast_object_list(told)
        if not state.is_main_process:
            peer = socket.create_connection((first, port), timeout=MEET_S)
            peer.sendall(f"{token} {watch.name}\n".encode())
            watch.peers[peer] = f"process 0 of {state.num_processes} ({first})"
        server.settimeout(MEET_S)
        while state.is_main_process and len(watch.peers) < state.num_processes - 1:
            peer = server.accept()[0]
            peer.settimeout(HELLO_S)
            key, name = "", ""
            with suppress(TimeoutError, ConnectionError):
                key, _, name = _line(peer).decode(errors="replace").strip().partition(" ")
            if secrets.compare_digest(key.encode(), token.encode()):
                watch.peers[peer] = name
            else:  # anybody may knock at an open port
                peer.close()
    for peer in watch.peers:
        _keep_alive(peer)
        threading.Thread(target=watch.listen, args=(peer,), daemon=True).start()


def _keep_alive(peer: socket.socket) -> None:
    """Have the system notice within a minute that the machine behind a connection is gone."""
    peer.settimeout(None)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted = {"TCP_KEEPIDLE": SILENT_S, "TCP_KEEPINTVL": SILENT_S, "TCP_KEEPCNT": ASKED}
    for name, value in (wanted | {"TCP_USER_TIMEOUT": 1000 * SILENT_S * (ASKED + 1)}).items():
        if hasattr(socket, name):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@contextmanager
def together() -> Iterator[None]:
    """Run what the processes of a launch share; one that fails in it, or is lost, ends all of them.

    Raises:
        ConfigError: as `join`.
    """
    join()
    if not _watches or _watches[0].working:  # inside another
        yield
        return
    (watch,) = _watches
    watch.work(True)
    try:
        yield
    except BaseException as error:
        if isinstance(error, SystemExit) and not error.code:
            watch.work(False)
        else:
            if isinstance(error, Exception) and not isinstance(error, LlmrecError):
                time.sleep(GRACE_S)
            line = (str(error).strip().splitlines() or [""])[0]
            name = "" if isinstance(error, LlmrecError) else f"{type(error).__name__}: "
            watch.failed(without_secrets(name + line))
        raise
    watch.work(False)


def require_shared(folder: Path) -> None:
    """Refuse a folder that some machines of the launch do not share with the first; it need not be there yet.

    Raises:
        ConfigError: names the folder and those machines.
    """
    if local_processes() == num_processes():
        return
    from accelerate.utils import broadcast_object_list, gather_object

    (name,) = broadcast_object_list([f".nodes.{secrets.token_hex(4)}.llmrec.tmp"])
    if is_first_process():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    broadcast_object_list([None])  # which the others wait for
    without = gather_object([None if (folder / name).exists() else socket.gethostname()])
    if is_first_process():
        (folder / name).unlink(missing_ok=True)
    if missing := sorted({one for one in without if one is not None}):
        raise ConfigError(
            f"{folder}: {', '.join(missing)} cannot see what the first machine writes there; name a folder that all "
            "machines share"
        )


def require_same(value: str, what: str) -> None:
    """Refuse to go on where the processes of a launch read different things.

    Raises:
        ConfigError: ``value`` is another on some machine; names it.
    """
    if num_processes() == 1:
        return
    from accelerate.utils import gather_object

    said = gather_object([(value, socket.gethostname())])
    if other := sorted({host for found, host in said if found != said[0][0]}):
        raise ConfigError(f"{what}: {', '.join(other)} has other content than {said[0][1]}; give all machines the same")


def _name_interface() -> None:
    """Have gloo talk on the interface that leads to the first machine; it takes that of the machine's name."""
    if local_processes() == num_processes() or "GLOO_SOCKET_IFNAME" in os.environ:
        return
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((os.environ.get("MASTER_ADDR", ""), 1))  # sends nothing
        mine = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                asked = struct.pack("256s", name.encode()[:15])
                if socket.inet_ntoa(fcntl.ioctl(probe.fileno(), _ADDRESS_OF, asked)[20:24]) == mine != "127.0.0.1":
                    os.environ["GLOO_SOCKET_IFNAME"] = name
