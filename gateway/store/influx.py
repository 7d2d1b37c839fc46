"""Talking to InfluxDB and to what speaks its protocol: the only file that knows influxdb-client.

    204              taken
    400, 413, 422    refused for good, or an imitation that means something else: the caller looks for the line
    401, 403, 404    wrong token, bucket …: for a person to put right
    5xx, no answer   later, perhaps

v2 goes through the client's synchronous write API without its retries; v1 knows only POST /write, over the same urllib3.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import urlencode

import orjson

from gateway.errors import PartMissingError, StoreError, StoreRefusedError

TIMEOUT = 10.0  # seconds for one request
_REFUSED = (400, 413, 422)


_OBJECT = re.compile(r"\b\w+\(host=[^)]*\): |<[^>]* object at 0x\w+>[:,]? ?")  # as urllib3 names what it used


def in_words(exc: BaseException) -> str:
    """Why there is no connection, as people say it: urllib3 wraps what the system says, and names its own objects."""
    cause: BaseException | None = exc
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    match cause:
        case socket.gaierror():
            return "its name is not known"
        case ConnectionRefusedError():
            return "nothing listens there"
        case ssl.SSLError():
            return f"TLS: {getattr(cause, 'verify_message', '') or cause.reason or cause}"
        case TimeoutError():
            return "no answer in time"
        case OSError(strerror=str() as said):
            return said.lower()
    return _OBJECT.sub("", str(exc))


class InfluxConnection:
    """One bucket or data base."""

    def __init__(
        self,
        url: str,
        *,
        api: Literal["v2", "v1"] | None = None,
        org: str = "",
        bucket: str = "",
        token: str = "",
        database: str = "",
        user: str = "",
        password: str = "",
        ca: Path | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """Without `api` it is found out. Connects when there is something to say. Raises PartMissingError."""
        try:
            import urllib3
            from influxdb_client.client.influxdb_client import InfluxDBClient
            from influxdb_client.client.write_api import SYNCHRONOUS
        except ImportError as exc:
            raise PartMissingError(
                "an influx store needs influxdb-client: pip install 'shopfloor-gateway[influx]'"
            ) from exc
        self._urllib3 = urllib3
        self.url, self._api = url.rstrip("/"), api
        self._org = org
        # Each API has its own name for the same thing; a bucket of InfluxDB 1.8 is `database/retention policy`.
        self._bucket, self._database = bucket or database, database or bucket.partition("/")[0]
        trust: dict[str, Any] = {"ca_certs": str(ca), "cert_reqs": "CERT_REQUIRED"} if ca else {}
        self._http = urllib3.PoolManager(retries=False, timeout=timeout, **trust)
        self._login = urllib3.make_headers(basic_auth=f"{user}:{password}") if user else {}
        milliseconds = round(timeout * 1000)
        self._client = InfluxDBClient(
            self.url, token, org=org or "-", timeout=milliseconds, ssl_ca_cert=str(ca) if ca else None, retries=False
        )
        self._write_api = self._client.write_api(write_options=SYNCHRONOUS)
        self._detected = False
        self.forgetful = False  # VictoriaMetrics: what it acknowledged just before it ended may be gone
        self._interrupted = False
        self._connections: list[int] = []  # of each way to the server, how many have been opened
        for pools in (self._http, self._client.api_client.rest_client.pool_manager):
            self._count_connections(pools)

    def close(self) -> None:
        """Safe to call twice."""
        self._client.close()  # type: ignore[no-untyped-call]
        self._http.clear()

    def was_interrupted(self) -> bool:
        """Whether the server may have been started anew since the last time this was asked."""
        interrupted = self._interrupted or any(opened > 1 for opened in self._connections)
        self._interrupted, self._connections = False, [min(opened, 1) for opened in self._connections]
        return interrupted

    def detect(self) -> None:
        """Once: which API it speaks. InfluxDB 1 says its version, InfluxDB 2 too; VictoriaMetrics says another thing."""
        if self._detected:
            return
        answer = self._request("GET", "/ping", {}, judge=self._api is None)
        if self._api is None:
            self._api = "v1" if answer.headers.get("X-Influxdb-Version", "").startswith("1.") else "v2"
        self.forgetful = self._api == "v2" and "X-Server-Hostname" in answer.headers
        self._detected = True

    def post(self, body: bytes) -> None:
        """Write lines. Raises StoreRefusedError for what no second attempt will change, else StoreError."""
        self.detect()
        if self._api == "v1":
            self._request("POST", "/write", {"db": self._database, "precision": "ns"}, body)
            return
        from influxdb_client.rest import ApiException

        try:
            self._write_api.write(self._bucket, record=body)
        except ApiException as exc:
            if exc.status == 0:
                self._lost_connection(exc)
            self._judge(exc.status, exc.body or exc.reason)
        except (self._urllib3.exceptions.HTTPError, OSError) as exc:
            self._lost_connection(exc)

    def probe(self) -> None:
        """Ask for a sign of life on the way that writes take. Raises StoreError."""
        try:
            self.post(b"")
        except StoreRefusedError as exc:
            if self.forgetful:  # takes a write of nothing, so something else is wrong, such as the token
                text = f"{self.url} refuses us ({exc}): check store.token, and the store's log"
                raise StoreError(text, fault="store-refuses") from exc

    def ask(self, question: str) -> Any:
        """The answer to an InfluxQL statement, times in ns. Raises StoreError."""
        self.detect()
        if self._api != "v1":
            raise StoreError(
                f"{self.url}: only a v1 data base can be asked from here: ask the store with its own tools"
            )
        answer = self._request("GET", "/query", {"db": self._database, "epoch": "ns", "q": question})
        return orjson.loads(answer.data)

    def _request(
        self, method: str, path: str, fields: Mapping[str, str], body: bytes | None = None, judge: bool = True
    ) -> Any:
        url = f"{self.url}{path}?{urlencode(fields)}" if fields else self.url + path
        try:
            answer = self._http.request(method, url, body=body, headers=self._login)
        except (self._urllib3.exceptions.HTTPError, OSError) as exc:
            self._lost_connection(exc)
        if judge and not 200 <= answer.status < 300:
            self._judge(answer.status, answer.data)
        return answer

    def _lost_connection(self, exc: Exception) -> NoReturn:
        self._interrupted = True
        text = f"{self.url} cannot be reached: {in_words(exc)}: is it running, and store.url right?"
        raise StoreError(text, fault="store-unreachable") from exc

    def _judge(self, status: int, body: bytes | str | None) -> NoReturn:
        text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
        with suppress(ValueError, AttributeError):
            message = json.loads(text)
            text = message.get("error") or message.get("message") or text
        text = " ".join(text.split())[:300]
        what = "token" if self._api == "v2" else "user and store.password"
        where = (
            f"bucket '{self._bucket}' and org '{self._org}'" if self._api == "v2" else f"data base '{self._database}'"
        )
        if status in _REFUSED:
            raise StoreRefusedError(text or f"status {status}", fault="store-rejects-data")
        if status in (401, 403):
            text = f"{self.url} refuses us ({status}: {text}): check store.{what}, and what they may write"
            raise StoreError(text, fault="store-refuses")
        if status == 404:
            text = f"{self.url}: no {where} there, or not this API ({text}): create it, or check store.api"
            raise StoreError(text, fault="store-database-missing")
        self._interrupted = True
        raise StoreError(f"{self.url} is not able to take anything now ({status}: {text})", fault="store-busy")

    def _count_connections(self, pools: Any) -> None:
        """Not every interruption is noticed: urllib3 quietly opens a new connection when the server closed the idle one."""
        pool, owner, way = pools.connection_from_url(self.url), self, len(self._connections)
        self._connections.append(0)

        class Counted(pool.ConnectionCls):  # type: ignore[misc, name-defined]
            def connect(self) -> None:
                owner._connections[way] += 1
                super().connect()

        pool.ConnectionCls = Counted
