"""The name plate as the kit reads it: whole, in pieces, not offered, or not as the standard says."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from firmware_sim.hil.name_plate import Plate, PlateError, PlateRefusedError, read_plate

# After the example of MODBUS Application Protocol 1.1b3, section 6.21, in two pieces.
FIRST = "2B 0E 01 01 FF 02 02 00 16" + b"Company identification".hex() + "01 0D" + b"Product code ".hex()
SECOND = "2B 0E 01 01 00 00 01 02 05" + b"V2.11".hex()


@contextmanager
def device(*answers: str) -> Iterator[int]:
    """Answers one request after the other with these PDUs, then closes; "" is silence."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        link, _ = server.accept()
        with link:
            for answer in answers:
                request = link.recv(64)
                pdu = bytes.fromhex(answer)
                if pdu:
                    size = (len(pdu) + 1).to_bytes(2, "big")
                    link.sendall(request[:4] + size + request[6:7] + pdu)
            link.recv(64)  # until the client leaves

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(server.getsockname()[1])
    thread.join(10.0)
    server.close()


def test_a_plate_in_two_pieces_is_put_together() -> None:
    with device(FIRST, SECOND) as port:
        plate = read_plate("127.0.0.1", port, 1, 10.0)
    assert plate == Plate("Company identification", "Product code", "V2.11")


@pytest.mark.parametrize(("answer", "code"), [("AB 01", 1), ("AB 0B", 11), ("", 0)])
def test_what_is_not_offered_is_told_apart(answer: str, code: int) -> None:
    with device(answer) as port, pytest.raises(PlateRefusedError) as told:
        read_plate("127.0.0.1", port, 1, 0.3)
    assert told.value.code == code


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (SECOND, "has no VendorName, ProductCode"),
        ("2B 0E 01 01 00 00 01 00 16 41", "answered with 2b 0e 01 01 00 00 01 00 16 41"),
        ("03 02 00 00", "answered with 03 02 00 00"),
    ],
)
def test_what_is_not_whole_is_shown(answer: str, sentence: str) -> None:
    with device(answer) as port, pytest.raises(PlateError, match=sentence):
        read_plate("127.0.0.1", port, 1, 10.0)
