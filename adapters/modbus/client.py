"""One Modbus TCP link. The only place that knows pymodbus.

pymodbus matches an answer to a request by little more than its order, so nothing is taken from it on trust: each answer is
compared, byte by byte from its first, with what the answer to this request has to begin with. Transaction id, protocol
id, length, unit id, function code and byte count all have to be right. Whatever else arrives (a late answer, one for
somebody else, two at once, noise) shows that request and answer are out of step: the link is closed, and what was on
its way is lost with it. The same goes for silence, after which an answer may still come. One request at a time.
"""

from __future__ import annotations

import asyncio
import logging
import struct

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from adapters.modbus.signals import Table
from gateway.errors import NotConnectedError

# It logs each frame it does not like, with the last twenty; what is wrong is told by the errors raised here.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

_READ = {
    "coil": AsyncModbusTcpClient.read_coils,
    "discrete": AsyncModbusTcpClient.read_discrete_inputs,
    "input": AsyncModbusTcpClient.read_input_registers,
    "holding": AsyncModbusTcpClient.read_holding_registers,
}
_REQUEST = struct.Struct(">HHHBBHH")  # transaction, protocol, length, unit, function code, address, number
_ANSWER = struct.Struct(">HHHBBB")  # the same, then the byte count, or the exception code
_REFUSAL = 0x80  # added to the function code


class NoAnswerError(NotConnectedError):
    """The link is up but the device behind it kept silent. The link was closed: its answer may still come."""


class _RawAnswer(ModbusPDU):
    """An answer that is left as it is: making a list of registers would double the cost of a transaction."""

    rtu_byte_count_pos = 2

    def decode(self, data: bytes) -> None:
        self.data = data[1:]

    def __str__(self) -> str:  # pymodbus asks for it on each answer, for a log line that is never written
        return type(self).__name__


class _Coils(_RawAnswer):
    function_code = 1


class _DiscreteInputs(_RawAnswer):
    function_code = 2


class _HoldingRegisters(_RawAnswer):
    function_code = 3


class _InputRegisters(_RawAnswer):
    function_code = 4


class ModbusClient:
    """A link to one server that can be opened again after it was closed."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._host, self._port, self._timeout = host, port, timeout
        self._client: AsyncModbusTcpClient | None = None
        self._request = b""  # the one under way
        self._good = self._refusal = b""  # how an answer to it begins
        self._trouble = ""

    @property
    def connected(self) -> bool:
        """Whether a request can be sent. False after anything went wrong."""
        return self._client is not None and self._client.connected

    async def open(self) -> None:
        """Connect. Raises NotConnectedError, with the reason and what to check."""
        self.close()
        client = AsyncModbusTcpClient(
            self._host,
            port=self._port,
            timeout=self._timeout,
            retries=0,
            reconnect_delay=0,
            trace_packet=self._check,
            trace_connect=self._on_connection,
        )
        for answer in (_Coils, _DiscreteInputs, _HoldingRegisters, _InputRegisters):
            client.register(answer)
        self._client, self._trouble = client, ""
        try:
            # What client.connect() does, but for the reason of a failure, which it keeps to itself.
            await asyncio.wait_for(client.ctx.call_create(), self._timeout)
        except (OSError, UnicodeError) as exc:
            self.close()
            raise NotConnectedError(f"{self.name}: {_why(exc, self._timeout)}") from exc

    async def read(self, unit: int, table: Table, address: int, count: int) -> bytes | int:
        """The data bytes of the answer, or the exception code of a refusal. Never to be cancelled but to end it all.

        Raises NoAnswerError after the timeout and NotConnectedError for anything else; the link is closed then.
        """
        if self._client is None:
            raise NotConnectedError(f"{self.name}: {self._trouble or 'not connected'}")
        try:
            answer = await _READ[table](self._client, address, count=count, device_id=unit)
        except ModbusException as exc:
            raise self._broken(unit) from exc
        finally:
            self._request = b""
        if self._trouble:
            raise self._broken(unit)
        return answer.data if isinstance(answer, _RawAnswer) else answer.exception_code

    def close(self) -> None:
        """Safe to call twice."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _broken(self, unit: int) -> NotConnectedError:
        self.close()
        if self._trouble:
            return NotConnectedError(f"{self.name}: unit {unit}: {self._trouble}")
        return NoAnswerError(
            f"{self.name}: unit {unit} does not answer within {self._timeout:g} s; "
            "check `unit_id` and `timeout`, and the line behind it if this is a bridge"
        )

    # --- what pymodbus calls -----------------------------------------------------------------------------------------

    def _check(self, sending: bool, data: bytes) -> bytes:
        """Every packet passes here, and only the one right answer gets through. `data`: all that has come so far."""
        if sending:
            transaction, _, _, unit, function, _, count = _REQUEST.unpack(data)
            size = (count + 7) // 8 if function in (1, 2) else 2 * count
            self._good = _ANSWER.pack(transaction, 0, 3 + size, unit, function, size)
            self._refusal = _ANSWER.pack(transaction, 0, 3, unit, function | _REFUSAL, 0)[:-1]
            self._request = data
            return data
        if self._request:
            if self._good.startswith(data[: len(self._good)]) and len(data) <= len(self._good) + self._good[-1]:
                return data
            if self._refusal.startswith(data[: len(self._refusal)]) and len(data) <= len(self._refusal) + 1:
                return data
        self._fail(_difference(self._good, data) if self._request else "it sends what nobody asked for")
        return b""

    def _on_connection(self, connected: bool) -> None:
        if not connected:
            self._fail("it closed the connection; check that it allows one more client")

    def _fail(self, trouble: str) -> None:
        """Wake the request under way; the link is not to be used again."""
        self._trouble = self._trouble or trouble
        if self._client is None:
            return
        waiting = self._client.ctx.response_future
        if self._request and not waiting.done():
            waiting.set_exception(ModbusException(trouble))
        elif not self._request:
            self.close()


def _difference(expected: bytes, data: bytes) -> str:
    """What is wrong with an answer, for people."""
    if len(data) < len(expected):
        return f"its answer is not for our request: it begins with {data.hex(' ')}"
    want, got = _ANSWER.unpack(expected), _ANSWER.unpack_from(data)
    names = ("transaction id", "protocol id", "length", "unit id", "function code", "byte count")
    refused = got[4] == want[4] | _REFUSAL
    if got[1] == want[1] and got[0] != want[0]:
        return "its answer has the transaction id of another request"
    for i in (1, 3) if refused else (1, 3, 4, 5, 2):
        if got[i] != want[i]:
            return f"its answer is not for our request: {names[i]} {got[i]} instead of {want[i]}"
    return f"{len(data)} bytes arrived at once: it answers twice"


def _why(exc: OSError | UnicodeError, timeout: float) -> str:
    if isinstance(exc, TimeoutError):
        return f"no connection within {timeout:g} s; check that it is switched on, the address, network and firewall"
    if isinstance(exc, ConnectionRefusedError):
        return "it refuses the connection; check the port, and that Modbus TCP is enabled and has room for a client"
    return f"{getattr(exc, 'strerror', None) or exc}; check the address and the network"
