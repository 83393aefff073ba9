"""Messages that went wrong on their way, for tests of whoever reads them."""

from random import Random

from edge.wire import RowLine, encode_row

GARBAGE = [
    b"9" * 25, b"i", b"nan", b"inf", b"1e999", b"-", b",", b"=", b'"', b"\\", b"\x00", b"\xff", b"", b"\n", b" ",
    b"\r", b"#", b"\xe2\x82\xac", b"true", b"0x1f", b"1_000", b"+1", "١".encode(), b"rev=", b"origin=real",
]  # fmt: skip


def mutated(content: bytes, random: Random) -> bytes:
    """One to three places replaced, cut, doubled or swapped."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 3)):
        at, length = random.randrange(len(changed) + 1), random.choice([0, 1, 2, 3, 40])
        kind = random.randrange(5)
        if kind == 0:
            changed[at : at + length] = random.choice(GARBAGE)
        elif kind == 1:
            del changed[at : at + length]
        elif kind == 2:
            changed[at:at] = changed[at : at + length]
        elif kind == 3 and changed:
            changed[at % len(changed)] ^= 1 << random.randrange(8)
        else:
            del changed[at:]
    return bytes(changed)


def encode(line: RowLine) -> str:
    return encode_row(line.kind, line.tags, line.fields, line.t_ns)
