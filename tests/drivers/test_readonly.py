"""The allow-lists: reads pass, everything else that the two protocols know does not."""

import pytest
from asyncua import ua

from drivers.readonly import NotARead, check_modbus, check_opcua


def test_of_all_function_codes_only_reads_pass() -> None:
    passed = set()
    for function in range(256):
        try:
            check_modbus(bytes([function, 0, 1, 0, 1]))
            passed.add(function)
        except NotARead as error:
            assert f"function code {function}" in str(error)  # noqa: PT017
    assert passed == {1, 2, 3, 4}


def test_of_the_encapsulated_functions_only_the_name_plate_passes() -> None:
    check_modbus(bytes.fromhex("2b0e0100"))
    for pdu in (bytes.fromhex("2b0d0100"), bytes.fromhex("2b"), b""):
        with pytest.raises(NotARead):
            check_modbus(pdu)


WRITING = [
    "WriteRequest", "CallRequest", "HistoryUpdateRequest", "AddNodesRequest", "DeleteNodesRequest",
    "AddReferencesRequest", "DeleteReferencesRequest", "RegisterServerRequest", "RegisterServer2Request",
    "RegisterNodesRequest", "UnregisterNodesRequest", "SetTriggeringRequest",
]  # fmt: skip


@pytest.mark.parametrize("service", WRITING)
def test_opcua_services_that_change_something_do_not_pass(service: str) -> None:
    with pytest.raises(NotARead, match=service):
        check_opcua(getattr(ua, service)())


@pytest.mark.parametrize("service", ["ReadRequest", "BrowseRequest", "PublishRequest", "HistoryReadRequest"])
def test_opcua_services_that_read_pass(service: str) -> None:
    check_opcua(getattr(ua, service)())
