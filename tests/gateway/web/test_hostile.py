"""What anybody may send to the API: whatever the document allows and much that it does not. Never a 5xx."""

import os
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web_shore import Shore, filled, shore

from gateway.web.api import ENDPOINTS
from gateway.web.openapi import document

__all__ = ["filled", "shore"]  # fixtures
EXAMPLES = int(os.environ.get("BOLLARD_API_CASES", "25"))  # of each endpoint; the long run takes 1000
ASKED = [e for e in ENDPOINTS if not e.path.endswith("/stream")]  # which never ends
schema = schemathesis.openapi.from_dict(document())


@pytest.mark.parametrize("endpoint", ASKED, ids=lambda e: f"{e.method} {e.path}")
def test_what_the_document_allows_is_answered(shore: Shore, endpoint: Any) -> None:
    operation = schema[endpoint.path][endpoint.method]
    headers = shore.bearer("chef")

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(operation.as_strategy())
    def hostile(case: Any) -> None:
        path = case.formatted_path
        body = case.body if isinstance(case.body, dict | list | str | int | float | bool) else None
        reply = shore.client.request(
            case.method, path, params=case.query or None, json=body, headers=headers | dict(case.headers or {})
        )
        assert reply.status_code < 500, (path, case.query, body, reply.text)
        if reply.status_code >= 400 and not path.startswith("/api/1/reports/"):
            assert reply.json()["error"]

    hostile()


@settings(max_examples=8 * EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    path=st.text(max_size=80),
    body=st.binary(max_size=200),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
)
def test_any_path_method_and_body(shore: Shore, path: str, body: bytes, method: str) -> None:
    for start in ("/", "/api/1/", "/api/1/reports/", "/static/", "/lock/"):
        try:
            reply = shore.client.request(method, start + path, content=body)
        except (ValueError, UnicodeError):  # no client can send such a request
            continue
        except Exception as error:
            if type(error).__name__ in ("InvalidURL", "LocalProtocolError"):
                continue
            raise
        assert reply.status_code < 500 or reply.status_code == 501


def test_the_document_is_complete(tmp_path: Path) -> None:
    said = document()
    assert {f"{e.method.lower()} {e.path}" for e in ENDPOINTS} == {
        f"{method} {path}" for path, methods in said["paths"].items() for method in methods
    }
    schema.validate()
