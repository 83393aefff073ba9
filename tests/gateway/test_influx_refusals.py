"""What InfluxDB answers decides whether ingest waits, ends, or looks for the row that is at fault."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from shore import T, catalogue, row

from gateway.errors import StoreError, StoreUnavailable
from gateway.store import open_store


class Database(BaseHTTPRequestHandler):
    """Answers as it is told: a status for questions, and one for writes that are not empty."""

    asked, written = 200, 204

    def do_GET(self) -> None:
        if self.path.startswith("/query"):
            self._answer(self.asked, {"results": []})
        else:
            self._answer(200, {"links": {"self": "/api/v2/buckets"}, "buckets": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(self.written if body else 204, {})

    def _answer(self, status: int, content: object) -> None:
        body = b"" if status == 204 else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def database() -> Iterator[ThreadingHTTPServer]:
    handler = type("OwnDatabase", (Database,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def address(database: ThreadingHTTPServer) -> str:
    return f"influx:http://127.0.0.1:{database.server_address[1]}?org=port&bucket=b"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503])
def test_a_refused_question_ends_no_writing(database: ThreadingHTTPServer, status: int) -> None:
    store = open_store(address(database), token="t")
    database.RequestHandlerClass.asked = status  # type: ignore[attr-defined]
    with pytest.raises(StoreUnavailable, match=str(status) if status != 404 else "check org and bucket"):
        store.write([row(T, power_w=1.0)], catalogue().field_types())
    database.RequestHandlerClass.asked = 200  # type: ignore[attr-defined]
    assert store.write([row(T, power_w=1.0)], catalogue().field_types()) == []
    store.close()


def test_rows_are_refused_by_three_answers_and_waited_with_at_all_others(database: ThreadingHTTPServer) -> None:
    store = open_store(address(database), token="t")
    for status in (400, 413, 422):
        database.RequestHandlerClass.written = status  # type: ignore[attr-defined]
        ((position, reason),) = store.write([row(T, power_w=1.0)], catalogue().field_types())
        assert position == 0 and reason.startswith("InfluxDB refuses it")
    for status in (401, 403, 404, 429, 500, 503):
        database.RequestHandlerClass.written = status  # type: ignore[attr-defined]
        with pytest.raises(StoreUnavailable):
            store.write([row(T, power_w=1.0)], catalogue().field_types())
    store.close()


def test_a_question_of_a_report_that_is_wrong_is_not_asked_again(database: ThreadingHTTPServer) -> None:
    store = open_store(address(database), token="t")
    database.RequestHandlerClass.written = 400  # type: ignore[attr-defined]  # to Flux, which is a POST too
    with pytest.raises(StoreError, match="answers 400"):
        store.series()
    store.close()
