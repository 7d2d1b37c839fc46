"""InfluxDB and what speaks its protocol: the only file that knows influxdb-client.

    batch ─▶ lines ─▶ write ─▶ 204   done
                        │     ▶ 4xx   halved down to the refused line: recorded as lost, kept as a dead letter
                        │     ▶ 401, 403, 404   held back: wrong token, bucket …: for a person to put right
                        └──── ▶ 5xx, nothing    held back: try again later

v2 goes through the client's synchronous write API without its retries; v1 knows only POST /write, over the same urllib3.
A point written twice is the same point, so nothing has to be remembered of what was stored.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import urlencode

import orjson

from gateway.clock import Clock, SystemClock
from gateway.errors import PartMissingError, StoreError, StoreRefusedError
from gateway.model import MachinePath
from gateway.mqtt.payload import Loss, Meta, Ranges, milliseconds
from gateway.store.contract import Columns, Entry, Lost, Origin, Readings
from gateway.store.dead_letters import DeadLetters
from gateway.store.influx_query import query_v1
from gateway.store.line_protocol import Line, LineBuilder, Odd

TIMEOUT = 10.0  # seconds for one request
RESEND = 30.0  # seconds: VictoriaMetrics acknowledges what it writes to its disk up to 12 s later
RESEND_BYTES = 32 * 2**20
AHEAD = 2 * 86400 * 10**9 - 3600 * 10**9  # ns: VictoriaMetrics silently drops what lies more than two days ahead
_REFUSED = (400, 413, 422)


class InfluxStore:
    """Writes to one bucket or data base; see gateway/store/contract.py for the contract."""

    remembers = False

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        api: Literal["v2", "v1"] | None = None,
        org: str = "",
        bucket: str = "",
        token: str = "",
        database: str = "",
        user: str = "",
        password: str = "",
        ca: Path | None = None,
        measurement: str = "machine",
        clock: Clock | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """`folder` takes dead letters and what has to outlive a restart. Raises PartMissingError."""
        try:
            import urllib3
            from influxdb_client.client.influxdb_client import InfluxDBClient
            from influxdb_client.client.write_api import SYNCHRONOUS
        except ImportError as exc:
            raise PartMissingError(
                "an influx store needs influxdb-client: pip install 'shopfloor-gateway[influx]'"
            ) from exc
        self._urllib3 = urllib3
        self._url, self._api, self._timeout = url.rstrip("/"), api, timeout
        self._org, self._token, self._measurement = org, token, measurement
        # Each API has its own name for the same thing; a bucket of InfluxDB 1.8 is `database/retention policy`.
        self._bucket, self._database = bucket or database, database or bucket.partition("/")[0]
        trust: dict[str, Any] = {"ca_certs": str(ca), "cert_reqs": "CERT_REQUIRED"} if ca else {}
        self._http = urllib3.PoolManager(retries=False, timeout=timeout, **trust)
        self._login = urllib3.make_headers(basic_auth=f"{user}:{password}") if user else {}
        self._client = InfluxDBClient(
            self._url,
            token,
            org=org or "-",
            timeout=round(timeout * 1000),
            ssl_ca_cert=str(ca) if ca else None,
            retries=False,
        )
        self._write_api = self._client.write_api(write_options=SYNCHRONOUS)
        self._clock = clock or SystemClock()
        self._builder = LineBuilder(measurement)
        self._dead_letters = DeadLetters(folder / "dead-letters.jsonl")
        self._odd_path = folder / "not-good.json"
        self._odd: Odd = _read_odd(self._odd_path)
        self._detected = False
        self._forgetful = False  # VictoriaMetrics: may forget what it acknowledged just before it ended
        self._recent: deque[tuple[float, bytes]] = deque()
        self._interrupted, self._connections = False, 0
        self._count_connections()

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]
        self._http.clear()

    def stored(self) -> Mapping[Origin, Ranges]:
        return {}

    def tidy(self) -> bool:
        return False

    def write(self, batch: Sequence[Entry]) -> Sequence[Lost]:
        self._detect()
        odd = {path: set(signals) for path, signals in self._odd.items()}
        owners: list[tuple[Line, Readings | Lost]] = []
        for entry in batch:
            if isinstance(entry, Meta):
                self._builder.describe(entry)
            elif isinstance(entry, Lost):
                owners.append((self._builder.loss(entry.gateway, entry.loss), entry))
            else:
                owners += [(line, entry) for line in self._builder.lines(entry.path, entry.data, odd)]
        losses = self._put(owners) if owners else []
        self._send_again()
        self._remember(owners)
        if odd != self._odd:
            self._odd = odd
            _write_odd(self._odd_path, odd)
        return losses

    def query(self, machine: str, signal: str, start: int, end: int, points: int | None = None) -> Columns:
        """See gateway/store/contract.py; v1 only. Raises StoreError."""
        self._detect()
        if self._api != "v1":
            raise StoreError(
                f"{self._url}: only a v1 data base and the historian can be asked from here: ask the store itself"
            )
        return query_v1(self._ask, self._measurement, machine, signal, start, end, points)

    # --- refusals ----------------------------------------------------------------------------------------------------

    def _put(self, owners: list[tuple[Line, Readings | Lost]]) -> list[Lost]:
        """Write all of them; what is refused for good comes back as lost."""
        try:
            if self._forgetful and any(line.time > self._clock.now() + AHEAD for line, _ in owners):
                raise StoreRefusedError(
                    "VictoriaMetrics drops what lies more than two days ahead: set the machine's clock"
                )
            self._post("\n".join(line.text for line, _ in owners).encode())
        except StoreRefusedError as exc:
            if len(owners) == 1:
                return self._give_up(*owners[0], str(exc))
            half = len(owners) // 2
            return self._put(owners[:half]) + self._put(owners[half:])
        return []

    def _give_up(self, line: Line, entry: Readings | Lost, reason: str) -> list[Lost]:
        if isinstance(entry, Lost):
            self._refuses_everything(reason)
        data = entry.data
        loss = Loss(
            data.epoch, data.seq, data.seq, line.readings, line.time, line.time, f"refused by the store: {reason}",
            entry.path.machine,
        )  # fmt: skip
        try:
            # First the record, then the dead letter: a store that takes not even this is not refusing a reading.
            # At the latest now: VictoriaMetrics would drop the record of what lies ahead as well.
            record = self._builder.loss(data.gateway, loss, min(line.time, self._clock.now()))
            self._post(record.text.encode())
        except StoreRefusedError as exc:
            self._refuses_everything(str(exc))
        self._dead_letters.add(
            [
                {
                    "t": milliseconds(self._clock.now()), "reason": reason, "gateway": data.gateway, "epoch": data.epoch,
                    "seq": data.seq, "line": line.text,
                }
            ]
        )  # fmt: skip
        return [Lost(data.gateway, data.seq, loss)]

    def _refuses_everything(self, reason: str) -> NoReturn:
        raise StoreError(
            f"{self._url} refuses every line: {reason}: check store.token, store.bucket and the store's log"
        )

    # --- VictoriaMetrics: what was acknowledged just before it ended ---------------------------------------------------

    def _remember(self, owners: Sequence[tuple[Line, Readings | Lost]]) -> None:
        if not self._forgetful:
            return
        now = self._clock.monotonic()
        self._recent.append((now, "\n".join(line.text for line, _ in owners).encode()))
        while self._recent and (
            self._recent[0][0] < now - RESEND or sum(len(body) for _, body in self._recent) > RESEND_BYTES
        ):
            self._recent.popleft()

    def _send_again(self) -> None:
        """After a connection that broke. Not every one is noticed: urllib3 quietly opens a new one after a restart."""
        if self._forgetful and (self._interrupted or self._connections > 1):
            for _, body in self._recent:
                with suppress(StoreRefusedError):  # was dealt with when it was new
                    self._post(body)
        self._interrupted, self._connections = False, min(self._connections, 1)

    def _count_connections(self) -> None:
        pool = self._client.api_client.rest_client.pool_manager.connection_from_url(self._url)
        store = self

        class Counted(pool.ConnectionCls):  # type: ignore[misc, name-defined]
            def connect(self) -> None:
                store._connections += 1
                super().connect()

        pool.ConnectionCls = Counted

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def _detect(self) -> None:
        """Once: which API it speaks. InfluxDB 1 says its version, InfluxDB 2 too; VictoriaMetrics says another thing."""
        if self._detected:
            return
        answer = self._request("GET", "/ping", {}, judge=self._api is None)
        if self._api is None:
            self._api = "v1" if answer.headers.get("X-Influxdb-Version", "").startswith("1.") else "v2"
        self._forgetful = self._api == "v2" and "X-Server-Hostname" in answer.headers
        self._detected = True

    def _post(self, body: bytes) -> None:
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

    def _ask(self, question: str) -> Any:
        answer = self._request("GET", "/query", {"db": self._database, "epoch": "ns", "q": question})
        return orjson.loads(answer.data)

    def _request(
        self, method: str, path: str, fields: Mapping[str, str], body: bytes | None = None, judge: bool = True
    ) -> Any:
        url = f"{self._url}{path}?{urlencode(fields)}" if fields else self._url + path
        try:
            answer = self._http.request(method, url, body=body, headers=self._login)
        except (self._urllib3.exceptions.HTTPError, OSError) as exc:
            self._lost_connection(exc)
        if judge and not 200 <= answer.status < 300:
            self._judge(answer.status, answer.data)
        return answer

    def _lost_connection(self, exc: Exception) -> NoReturn:
        self._interrupted = True
        raise StoreError(f"{self._url} cannot be reached: {exc}: is it running, and store.url right?") from exc

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
            raise StoreRefusedError(text or f"status {status}")
        if status in (401, 403):
            raise StoreError(f"{self._url} refuses us ({status}: {text}): check store.{what}, and what they may write")
        if status == 404:
            raise StoreError(f"{self._url}: no {where} there, or not this API ({text}): create it, or check store.api")
        self._interrupted = True
        raise StoreError(f"{self._url} is not able to take anything now ({status}: {text})")


def _read_odd(path: Path) -> Odd:
    """Which signals were not good when we ended: else a quality that returned meanwhile would look bad for ever."""
    try:
        return {MachinePath(*machine): set(signals) for machine, signals in orjson.loads(path.read_bytes())}
    except (OSError, ValueError, TypeError):
        return {}


def _write_odd(path: Path, odd: Odd) -> None:
    rows = [
        [[p.machine, p.enterprise, p.site, p.area, p.line], sorted(signals)] for p, signals in odd.items() if signals
    ]
    new = path.with_name(path.name + ".new")
    with suppress(OSError):  # it only spares a wrong colour after a restart
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(orjson.dumps(rows))
        new.replace(path)
