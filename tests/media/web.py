"""A web server on loopback that behaves as badly as its path says."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

BODY = b"\x89PNG and so on" * 100


@dataclass
class Web:
    """`port` it listens on, and the requests it saw: path and headers (names in lower case).

    `silent` is set when a client is kept waiting for good, `hung_up` when it has given up.
    """

    host: str = "127.0.0.1"
    port: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    silent: asyncio.Event = field(default_factory=asyncio.Event)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str, host: str | None = None, scheme: str = "http") -> str:
        return f"{scheme}://{host or self.host}:{self.port}{path}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            target = head[0].split(" ")[1]
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            self.requests.append((target, {name.lower(): v for name, v in headers.items()}))
            await self._behave(target, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _behave(  # noqa: C901, PLR0912 - one case per misbehaviour
        self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        match path.split("/")[1]:
            case "redirect":
                send(writer, 302, b"", f"Location: {query['to'][0]}")
            case "loop":
                send(writer, 307, b"", "Location: /loop")
            case "status":
                send(writer, int(path.split("/")[2]), b"internal secret")
            case "large":
                send(writer, 200, b"x" * int(path.split("/")[2]))
            case "endless":
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                while True:
                    writer.write(b"x" * 65536)
                    await writer.drain()
            case "drip":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                for _ in range(1000):
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.05)
            case "silent":
                self.hung_up.clear()
                self.silent.set()
                await reader.read()
                self.hung_up.set()
            case "short":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")
            case "gzip":
                send(writer, 200, gzip.compress(BODY), "Content-Encoding: gzip")
            case "bomb":
                bomb = gzip.compress(bytes(200 * 2**20), 9)
                send(writer, 200, bomb, "Content-Encoding: gzip")
            case "cut-gzip":
                send(writer, 200, gzip.compress(BODY)[:-20], "Content-Encoding: gzip")
            case "br":
                send(writer, 200, b"\x8b\x00\x80", "Content-Encoding: br")
            case "nonsense":
                writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            case _:
                send(writer, 200, BODY)
        await writer.drain()


def send(writer: asyncio.StreamWriter, status: int, body: bytes, *headers: str) -> None:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
    writer.write("\r\n".join(lines).encode() + body)


@asynccontextmanager
async def serving(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    web = Web(host)
    server = await asyncio.start_server(web.answer, host, 0, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()
        await server.wait_closed()
