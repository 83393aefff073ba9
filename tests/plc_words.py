"""A Modbus meter in a thread, so small that each answer is known: every read gets the next number."""

import socketserver
import struct
import threading
from typing import Self


class Plc:
    """Answers every read of registers with words that all hold the number of the read; or stays silent.

    Attributes:
        reads: Answers that were given; by length of the request's block, so that one block can be followed.
    """

    def __init__(self) -> None:
        plc = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                plc.connections += 1
                self.request.settimeout(0.2)
                while not plc.ended:
                    try:
                        asked = self.request.recv(260)
                    except TimeoutError:
                        continue
                    except OSError:
                        return
                    if not asked:
                        return
                    if not plc.silent:
                        self.request.sendall(plc._answer(asked))

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address = True, True

        self.silent, self.ended, self.reads, self.connections = False, False, 0, 0
        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.socket.getsockname()[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))

    def _answer(self, asked: bytes) -> bytes:
        transaction, _, _, unit, function, _, count = struct.unpack(">HHHBBHH", asked[:12])
        self.reads += 1
        words = struct.pack(f">{count}H", *[self.reads % 30_000] * count)
        body = bytes((unit, function, 2 * count)) + words
        return struct.pack(">HHH", transaction, 0, len(body)) + body

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = True
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()
