"""What the service is measured beside: a server that does nothing, of the same stack, and one without any stack.

python -m bench.bare BYTES          FastAPI on uvicorn, which reads what is posted and answers so many bytes
python -m bench.bare BYTES --loop   the event loop alone, which shows what the generator can ask for
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec
import uvicorn
import uvloop
from fastapi import FastAPI, Request
from fastapi.responses import Response


def _application(size: int) -> Any:
    app = FastAPI()
    answer = {"items": "x" * size}

    @app.post("/v1/recommend")
    async def handle(request: Request) -> Response:
        msgspec.json.decode(await request.body())
        return Response(msgspec.json.encode(answer), media_type="application/json")

    return app


class _Loop(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, _: bytes) -> None:
        self._transport.write(self._answer)  # requests are smaller than what is read at once


async def _loop(size: int) -> None:
    answer = f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode() + b"x" * size
    server = await asyncio.get_running_loop().create_server(lambda: _Loop(answer), "127.0.0.1", 0)
    print(f"listens at http://127.0.0.1:{server.sockets[0].getsockname()[1]};", file=sys.stderr, flush=True)
    await server.serve_forever()


async def _served(size: int) -> None:
    server = uvicorn.Server(uvicorn.Config(_application(size), port=0, log_config=None, access_log=False))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    print(f"listens at http://127.0.0.1:{port};", file=sys.stderr, flush=True)
    await task


if __name__ == "__main__":
    uvloop.run((_loop if "--loop" in sys.argv else _served)(int(sys.argv[1])))
