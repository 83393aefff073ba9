"""The name plate that a simulated Modbus device shows: function 43/14, read device identification.

Source: MODBUS Application Protocol 1.1b3, section 6.21.
"""

from drivers.profile import Profile

FUNCTION, KIND = 0x2B, 0x0E
BASIC, INDIVIDUAL = 1, 4  # what may be asked for; 2 and 3 are answered with what there is
_CONFORMITY = 0x81  # the basic objects, as a stream and one by one
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3


def objects_of(profile: Profile) -> tuple[bytes, ...]:
    """Vendor, product code and revision, by their ids 0 to 2. The revision is that of the register map."""
    return tuple(
        text.encode("ascii", "replace")[:60] for text in ("bollard simulator", profile.model, profile.hash)
    )


def name_plate(objects: tuple[bytes, ...], pdu: bytes) -> bytes | int:
    """The response PDU to a request PDU of function 43, or the code of the exception."""
    if pdu[1:2] != bytes((KIND,)):
        return ILLEGAL_FUNCTION
    if len(pdu) != 4 or not BASIC <= pdu[2] <= INDIVIDUAL:
        return ILLEGAL_VALUE
    asked, first = pdu[2], pdu[3]
    if asked == INDIVIDUAL and first >= len(objects):
        return ILLEGAL_ADDRESS
    if first >= len(objects):
        first = 0  # a stream begins anew where nothing is at its start
    shown = range(first, first + 1) if asked == INDIVIDUAL else range(first, len(objects))
    head = bytes((FUNCTION, KIND, asked, _CONFORMITY, 0, 0, len(shown)))
    return head + b"".join(bytes((n, len(objects[n]))) + objects[n] for n in shown)
