"""Requests in an open loop: each leaves when it is due, whatever became of those before it.

A latency counts from the moment the request was due. So a server that stalls is charged with everybody who came
meanwhile, which a client that waits for its answer before it asks again never sees (coordinated omission).
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["Answers", "ask_at", "posted"]

_CONNECTIONS: Final = 64  # kept alive, asked in turn, as a proxy before the service does
_MOST_CONNECTIONS: Final = 512
_PATIENCE_S: Final = 10.0  # after the last request was due
_END: Final = b"\r\n\r\n"


@dataclass(frozen=True)
class Answers:
    """What became of the requests of a rate.

    Attributes:
        rate: Requests a second that were due.
        answered: Requests a second that were answered with 200, until the last answer.
        p50, p90, p99, worst: Milliseconds from due to answered.
        statuses: Number of answers by status; 0 for a broken connection or none at all.
        late: Milliseconds that requests left late, 99th percentile: the generator's own part.
    """

    rate: float
    answered: float
    p50: float
    p90: float
    p99: float
    worst: float
    statuses: dict[int, int]
    late: float

    @property
    def errors(self) -> int:
        """Requests that were not answered with 200."""
        return sum(number for status, number in self.statuses.items() if status != 200)


def posted(path: str, body: bytes) -> bytes:
    """A request as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection:
    __slots__ = ("number", "read", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.number, self.read = -1, b""

    def status(self) -> int | None:
        """Status of the answer that has come; None while it is not whole, 0 where the connection broke."""
        try:
            more = self.socket.recv(1 << 18)
        except BlockingIOError:
            return None
        except OSError:
            more = b""
        if not more:
            return 0
        self.read += more
        head, found, body = self.read.partition(_END)
        if not found:
            return None
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return None
        self.read = b""
        return int(head[9:12])


def ask_at(port: int, requests: Sequence[bytes], rate: float, seconds: float, seed: int = 0) -> Answers:
    """Ask for some seconds, at times drawn as those of customers who know nothing of each other (Poisson).

    Args:
        port: Where the server listens, on loopback.
        requests: What to send, in turn.
        rate: Requests a second.
        seconds: How long.
        seed: Of the times.
    """
    number = max(1, round(rate * seconds))
    due = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, number))
    due *= seconds / due[-1]
    took, late, statuses = np.full(number, np.nan), np.zeros(number), Counter[int]()
    poll, open_, idle, waiting = select.epoll(), dict[int, _Connection](), deque[_Connection](), deque[int]()

    def connect() -> _Connection:
        made = _Connection(port)
        open_[made.socket.fileno()] = made
        poll.register(made.socket.fileno(), select.EPOLLIN)
        return made

    def close(one: _Connection) -> None:
        poll.unregister(one.socket.fileno())
        del open_[one.socket.fileno()]
        one.socket.close()

    idle.extend(connect() for _ in range(min(_CONNECTIONS, number)))
    start, sent, times = time.perf_counter() + 0.05, 0, due.tolist()
    while sum(statuses.values()) < number:
        now = time.perf_counter() - start
        while sent < number and times[sent] <= now:
            waiting.append(sent)
            sent += 1
        while waiting and (idle or len(open_) < _MOST_CONNECTIONS):
            one = idle.popleft() if idle else connect()
            one.number = waiting.popleft()
            late[one.number] = time.perf_counter() - start - times[one.number]
            try:
                one.socket.send(requests[one.number % len(requests)])
            except OSError:
                statuses[0] += 1
                close(one)
        if now > times[-1] + _PATIENCE_S:
            statuses[0] += number - sum(statuses.values())
            break
        wait = times[sent] - now if sent < number else 0.01
        select.select([poll.fileno()], [], [], max(0.0, wait))  # to the microsecond, where epoll waits milliseconds
        for place, _ in poll.poll(0):
            one = open_[place]
            if (status := one.status()) is None:
                continue
            if one.number >= 0:
                statuses[status] += 1
                if status == 200:
                    took[one.number] = time.perf_counter() - start - times[one.number]
            one.number = -1
            if status:
                idle.append(one)
            else:  # it was closed, idle or not
                if one in idle:
                    idle.remove(one)
                close(one)
    last = max(float(np.nanmax(took + due)), times[-1]) if statuses[200] else times[-1]
    for one in list(open_.values()):
        close(one)
    p50, p90, p99, worst = 1000 * np.nanpercentile(took, [50, 90, 99, 100]) if statuses[200] else [np.nan] * 4
    return Answers(
        rate, statuses[200] / last, p50, p90, p99, worst, dict(statuses), float(1000 * np.percentile(late, 99))
    )
