"""All that bollard ever sends to equipment. Every driver's transport refuses the rest.

On a lock a wrong write moves a gate: this is no convention among callers but a check on what is about to
leave, below every method of the libraries.
"""

READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
ENCAPSULATED, READ_IDENTIFICATION = 43, 14  # function code, and its only kind that reads (a name plate)
MODBUS_FUNCTIONS = frozenset({READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT, ENCAPSULATED})

OPCUA_SERVICES = frozenset(
    {
        "OpenSecureChannelRequest", "CloseSecureChannelRequest",
        "CreateSessionRequest", "ActivateSessionRequest", "CloseSessionRequest", "CancelRequest",
        "FindServersRequest", "FindServersOnNetworkRequest", "GetEndpointsRequest",
        "ReadRequest", "HistoryReadRequest",
        "BrowseRequest", "BrowseNextRequest", "TranslateBrowsePathsToNodeIdsRequest",
        "CreateSubscriptionRequest", "ModifySubscriptionRequest", "DeleteSubscriptionsRequest",
        "SetPublishingModeRequest", "TransferSubscriptionsRequest", "PublishRequest", "RepublishRequest",
        "CreateMonitoredItemsRequest", "ModifyMonitoredItemsRequest", "DeleteMonitoredItemsRequest",
        "SetMonitoringModeRequest",
    }
)  # fmt: skip


class NotARead(RuntimeError):
    """Something other than a read was about to be sent; it was not. A bug: nothing catches this."""


def check_modbus(pdu: bytes) -> None:
    """Let a Modbus PDU pass, function code first, if it is a read.

    Raises: NotARead.
    """
    function = pdu[0] if pdu else None
    if function not in MODBUS_FUNCTIONS:
        raise NotARead(f"Modbus function code {function} is not one of {sorted(MODBUS_FUNCTIONS)}: not sent")
    if function == ENCAPSULATED and pdu[1:2] != bytes([READ_IDENTIFICATION]):
        raise NotARead(f"Modbus function code 43/{pdu[1:2].hex() or '-'} is not 43/14 (0e): not sent")


def check_opcua(request: object) -> None:
    """Let an OPC UA request pass if its service only reads.

    Raises: NotARead.
    """
    service = type(request).__name__
    if service not in OPCUA_SERVICES:
        raise NotARead(f"OPC UA service {service} is not among those that only read: not sent")
