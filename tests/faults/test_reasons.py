"""How a code travels: with the text it belongs to, from where it is found to where it is shown."""

import errno
import logging
import socket
import ssl

import orjson
import pytest

from gateway import faults
from gateway.errors import BrokerError, ConfigError, ConfigErrors, GatewayError, NotConnectedError, StoreError
from gateway.faults import Reason
from gateway.mqtt.client import Endpoint, _why
from gateway.mqtt.payload import encode_status
from gateway.web.snapshot import Condition


def test_a_reason_is_its_text() -> None:
    reason = Reason("refused", "connection-refused")
    assert reason == "refused"
    assert {reason: 1}["refused"] == 1
    assert orjson.loads(orjson.dumps([reason])) == ["refused"]
    assert (reason.fault, Reason(reason).fault, Reason("x").fault) == ("connection-refused", "connection-refused", "")


def test_an_error_takes_the_code_of_its_text_or_the_one_that_is_said() -> None:
    assert NotConnectedError("text").fault == ""
    assert NotConnectedError("text", fault="modbus-no-answer").fault == "modbus-no-answer"
    assert BrokerError(Reason("text", "broker-tls")).fault == "broker-tls"
    assert StoreError(Reason("text", "disk-full"), fault="disk-broken").fault == "disk-broken"
    assert str(NotConnectedError("text", fault="modbus-no-answer")) == "text"
    mistake = ConfigError("f.yaml", 1, 1, "key", "message")
    assert mistake.fault == ConfigErrors([mistake]).fault == "config-refused"
    assert GatewayError().fault == ""


def test_a_condition_takes_it_over_and_forgets_it() -> None:
    condition = Condition("online", 1_000_000)
    assert condition.snapshot() == {"state": "online", "since_ms": 1, "reason": "", "fault": ""}
    condition.set("offline", 5_000_000, Reason("gone", "connection-lost"))
    assert condition.snapshot() == {"state": "offline", "since_ms": 5, "reason": "gone", "fault": "connection-lost"}
    condition.set("offline", 6_000_000, "still", "connection-timeout")
    assert (condition.since, condition.fault) == (5_000_000, "connection-timeout")
    condition.set("online", 7_000_000)
    assert (condition.reason, condition.fault) == ("", "")


def test_a_status_message_has_it_beside_the_reason_and_only_where_there_is_one() -> None:
    told = orjson.loads(encode_status("offline", 10**18, Reason("gone", "connection-lost"), gateway="g"))
    assert (told["reason"], told["fault"]) == ("gone", "connection-lost")
    assert (
        orjson.loads(encode_status("offline", 10**18, "gone", fault="connection-refused"))["fault"]
        == "connection-refused"
    )
    assert "fault" not in orjson.loads(encode_status("online", 10**18, ""))


def test_a_log_line_ends_with_it() -> None:
    assert faults.tagged(Reason("panel: gone", "connection-lost")) == "panel: gone [connection-lost]"
    assert faults.tagged("panel: gone") == "panel: gone"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk-full"), (errno.EDQUOT, "disk-full"), (errno.EROFS, "disk-read-only"),
        (errno.EACCES, "disk-no-rights"), (errno.EIO, "disk-broken"),
    ],
)  # fmt: skip
def test_of_a_disk(number: int, code: str) -> None:
    assert faults.fault_of_disk(OSError(number, "")) == code


def _certificate_error(verify_code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("no")
    error.verify_code, error.verify_message = verify_code, "no"
    return error


# Numbers of X509_verify_cert_error_string(3): 10 has expired, 20 no issuer, 62 host name mismatch.
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionRefusedError(), "broker-not-running"),
        (socket.gaierror(), "name-not-resolved"),
        (_certificate_error(10), "broker-certificate-expired"),
        (_certificate_error(62), "broker-tls-name"),
        (_certificate_error(20), "broker-tls"),
        (ssl.SSLError(), "broker-tls"),
        (TimeoutError(), "broker-unreachable"),
        (OSError(errno.EHOSTUNREACH, "no route"), "broker-unreachable"),
    ],
)
def test_of_a_broker(error: Exception, code: str) -> None:
    assert _why(Endpoint("broker.lan", 8883, "g", tls=True), error).fault == code


def test_explanations() -> None:
    told = faults.explain("modbus-no-answer", "vi")
    assert told.title == "Thiết bị Modbus không trả lời"
    assert faults.explain("modbus-no-answer", "xx").title == faults.explain("modbus-no-answer").title
    assert faults.fault("modbus-no-answer") == faults.Fault("modbus-no-answer", "error")
    with pytest.raises(KeyError):
        faults.explain("no-such-fault")


def test_a_sentence_about_a_fact_is_there_only_with_it() -> None:
    plain = faults.explain("connection-refused")
    told = faults.explain("connection-refused", host="10.20.0.11", port=502)
    assert set(plain.checks) < set(told.checks)
    assert [each for each in told.checks if each not in plain.checks] == [
        "Try the port from the gateway: nc -vz 10.20.0.11 502"
    ]
    assert faults.explain("connection-refused", host="10.20.0.11").checks == plain.checks


def test_texts_of_facts_are_not_read_again() -> None:
    told = faults.explain("connection-refused", host="{port}", port="{host}")
    assert told.checks[-1].endswith("nc -vz {port} {host}")


def test_modbus_says_it_with_every_sentence() -> None:
    from adapters.modbus import trouble
    from adapters.modbus.connections import ModbusRtu, ModbusTcp

    tcp = ModbusTcp(protocol="modbus-tcp", host="10.20.0.11")
    rtu = ModbusRtu(protocol="modbus-rtu", port="/dev/ttyUSB0")
    assert trouble.why_not_open(tcp, ConnectionRefusedError()).fault == "connection-refused"
    assert trouble.why_not_open(tcp, TimeoutError()).fault == "connection-timeout"
    assert trouble.why_not_open(tcp, socket.gaierror(-2, "no")).fault == "name-not-resolved"
    assert trouble.why_not_open(tcp, OSError(errno.EHOSTUNREACH, "no route")).fault == "host-unreachable"
    assert trouble.why_not_open(rtu, FileNotFoundError(errno.ENOENT, "")).fault == "serial-port-missing"
    assert trouble.why_not_open(rtu, PermissionError(errno.EACCES, "")).fault == "serial-no-rights"
    assert trouble.why_not_open(rtu, OSError(errno.EBUSY, "")).fault == "serial-port-busy"
    assert trouble.why_not_open(rtu, OSError(errno.EINVAL, "")).fault == "serial-settings-refused"
    assert trouble.why_not_open(rtu, OSError(errno.EIO, "")).fault == "serial-port-failed"
    assert trouble.unanswered(rtu, heard=False).fault == "modbus-no-answer"
    assert trouble.unanswered(rtu, heard=True).fault == "modbus-half-answer"
    assert trouble.of_kind("bad checksum", "x").fault == "modbus-garbled"
    assert trouble.of_kind("wrong transaction", "x").fault == "modbus-out-of-step"
    assert trouble.of_kind("closed", trouble.why_closed(rtu)).fault == "serial-port-failed"


def test_opcua_says_it_for_every_error() -> None:
    from asyncua import ua

    from adapters.opcua.explain import fault_of_error
    from adapters.opcua.security.verdict import fault_of_kinds

    errors: list[tuple[BaseException, str]] = [
        (ua.uaerrors.BadUserAccessDenied(), "opcua-user-refused"),
        (ua.uaerrors.BadTooManySessions(), "opcua-no-sessions"),
        (ua.uaerrors.BadTcpEndpointUrlInvalid(), "opcua-endpoint-unknown"),
        (ua.uaerrors.BadInternalError(), "opcua-refused"),
        (ConnectionRefusedError(), "connection-refused"),
        (TimeoutError(), "connection-timeout"),
        (ConnectionResetError(), "connection-lost"),
        (AssertionError(), "opcua-certificate-refused"),
        (ValueError("?"), "opcua-garbled"),
        (RuntimeError("?"), "unexpected-error"),
        (NotConnectedError("x", fault="opcua-certificate-changed"), "opcua-certificate-changed"),
    ]
    assert [fault_of_error(error) for error, _ in errors] == [code for _, code in errors]
    assert fault_of_kinds(["expired", "untrusted"]) == "opcua-certificate-not-trusted"


def test_the_publisher_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    from gateway.publisher.publisher import Publisher

    publisher = object.__new__(Publisher)
    publisher.reason, publisher._told = "", set()
    with caplog.at_level(logging.WARNING):
        publisher._say(Reason("the broker refuses it", "broker-refuses-topic"))
        publisher._say(Reason("the broker refuses it", "broker-refuses-topic"))
    assert [record.getMessage() for record in caplog.records] == [
        "broker: the broker refuses it [broker-refuses-topic]"
    ]
    assert caplog.records[0].fault == "broker-refuses-topic"  # type: ignore[attr-defined]
