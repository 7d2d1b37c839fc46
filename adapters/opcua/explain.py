"""What went wrong with a server, said so that somebody at the machine can mend it."""

from __future__ import annotations

import socket
from struct import error as StructError
from typing import Literal

from adapters.opcua.security.certificates import day, printable
from adapters.opcua.security.own import KeyPair, Own
from adapters.opcua.security.secure import ahead
from adapters.opcua.wire import GarbledError
from gateway.faults import Reason, fault_of

Step = Literal["channel", "session", "login"]

_HINTS = {
    "BadUserAccessDenied": "wrong user or password, or this user may not do that: check `user` and `password`",
    "BadIdentityTokenRejected": "the server does not take this user or password: check `user` and `password`",
    "BadIdentityTokenInvalid": "the server does not take this way to log in: check `user` and `password`",
    "BadTooManySessions": "all its sessions are taken: close another client, or wait until a dead one has timed out",
    "BadMaxConnectionsReached": "all its connections are taken: close another client",
    "BadTooManySubscriptions": "it allows fewer subscriptions than there are machines behind this connection",
    "BadSecurityPolicyRejected": "the server wants encryption, and this connection has `security: None`",
    "BadSecurityModeRejected": "the server wants encryption, and this connection has `security: None`",
    "BadSecurityModeInsufficient": "the server wants encryption, and this connection has `security: None`",
    "BadSecurityChecksFailed": "the server refuses this connection; it may want encryption or know another user only",
    "BadTcpEndpointUrlInvalid": "there is a server, but not under this path: check `url`",
    "BadTcpServerTooBusy": "the server is too busy",
    "BadServerHalted": "the server is halted",
    "BadShutdown": "the server shuts down",
    "BadOutOfMemory": "the server is out of memory",
    "BadSessionIdInvalid": "the server has closed the session",
    "BadSessionClosed": "the server has closed the session",
    "BadNoSubscription": "the server has deleted the subscription",
    "BadSubscriptionIdInvalid": "the server has deleted the subscription",
    "BadSecureChannelClosed": "the server has closed the channel",
    "BadSecureChannelIdInvalid": "the server has closed the channel",
}


_FAULTS = {
    **dict.fromkeys(
        ("BadUserAccessDenied", "BadIdentityTokenRejected", "BadIdentityTokenInvalid", "BadUserSignatureInvalid"),
        "opcua-user-refused",
    ),
    **dict.fromkeys(
        ("BadTooManySessions", "BadMaxConnectionsReached", "BadTooManySubscriptions", "BadTooManyMonitoredItems"),
        "opcua-no-sessions",
    ),
    **dict.fromkeys(
        ("BadSecurityPolicyRejected", "BadSecurityModeRejected", "BadSecurityModeInsufficient", "BadSecurityChecksFailed"),
        "opcua-security-mismatch",
    ),
    "BadTcpEndpointUrlInvalid": "opcua-endpoint-unknown",
    **dict.fromkeys(("BadTcpServerTooBusy", "BadServerHalted", "BadShutdown", "BadOutOfMemory"), "opcua-server-busy"),
    **dict.fromkeys(
        ("BadSessionIdInvalid", "BadSessionClosed", "BadNoSubscription", "BadSubscriptionIdInvalid",
         "BadSecureChannelClosed", "BadSecureChannelIdInvalid"),
        "opcua-session-lost",
    ),
    "BadNodeIdUnknown": "opcua-node-unknown",
    **dict.fromkeys(("BadTimeout", "BadRequestTimeout"), "connection-timeout"),
    **dict.fromkeys(("BadCommunicationError", "BadConnectionClosed"), "connection-lost"),
}  # fmt: skip


def fault_of_error(exc: BaseException) -> str:
    """The code in the catalogue of faults, for any exception that a connection can end with."""
    if known := fault_of(exc):
        return known
    name = type(exc).__name__
    if name.startswith("Bad"):
        return _FAULTS.get(name, "opcua-refused")
    match exc:
        case ConnectionRefusedError():
            return "connection-refused"
        case TimeoutError():
            return "connection-timeout"
        case socket.gaierror():
            return "name-not-resolved"
        case ConnectionError():
            return "connection-lost"
        case OSError():
            return "host-unreachable"
        case AssertionError() if not str(exc):
            return "opcua-certificate-refused"
    if "No matching endpoints" in str(exc):
        return "opcua-security-mismatch"
    unread = isinstance(exc, (GarbledError, *_NOT_READ)) or name in ("UaError", "NotEnoughData")
    return "opcua-garbled" if unread else "unexpected-error"


def explain(exc: BaseException) -> str:
    """One line for any exception that a connection can end with."""
    name = type(exc).__name__
    if name.startswith("Bad"):
        return f"{_HINTS[name]} ({name})" if name in _HINTS else f"the server answers {name}"
    match exc:
        case ConnectionRefusedError():
            return "connection refused: is the OPC UA server running, and is this its port?"
        case TimeoutError():
            return "no answer in time: check cable and firewall, or allow more with `timeout:`"
        case socket.gaierror():
            return "this name is not known: check `url`, or write the IP address"
        case ConnectionResetError() | BrokenPipeError():
            return "the server has broken the connection"
        case ConnectionError():
            return "the connection is lost"
        case OSError():
            return f"cannot be reached: {exc.strerror or exc}"
        case GarbledError():
            return f"the server sent something that cannot be read: {exc}"
        case AssertionError() if not str(exc):
            return "the server broke off: it does not trust our certificate, or wants another kind of security"
    if "No matching endpoints" in str(exc):
        return _HINTS["BadSecurityPolicyRejected"]
    if isinstance(exc, _NOT_READ) or name in ("UaError", "NotEnoughData"):
        return f"the server sent something that cannot be read ({name}: {exc})"
    return f"{name}: {exc}" if str(exc) else name


# What asyncua and we stumble over where bytes are not what they should be.
_NOT_READ = (ValueError, TypeError, LookupError, AttributeError, StructError, OverflowError, RecursionError)

# --- our certificates ------------------------------------------------------------------------------------------------

# What a server may say about a certificate of ours. The first group is the answer of one that has not seen it before;
# many servers say no more than that, so as not to help those who try.
_UNTRUSTED = (
    "BadSecurityChecksFailed",
    "BadCertificateUntrusted",
    "BadCertificateInvalid",
    "BadCertificateChainIncomplete",
)
_TIME = ("BadCertificateTimeInvalid", "BadCertificateIssuerTimeInvalid", "BadInvalidTimestamp")
_ABOUT_OURS = {
    "BadCertificateUriInvalid": "it is made out for another application than the one we say we are ({uri})",
    "BadCertificateHostNameInvalid": "it is made out for another host than this one",
    "BadCertificateUseNotAllowed": "it may not be used as a client's certificate",
    "BadCertificatePolicyCheckFailed": "its key or signature does not suit the server's policy",
    "BadCertificateRevoked": "it is revoked there",
    "BadCertificateIssuerRevoked": "its issuer is revoked there",
    "BadCertificateRevocationUnknown": "the server has no revocation list of its issuer",
    "BadCertificateIssuerRevocationUnknown": "the server has no revocation list of its issuer",
    "BadApplicationSignatureInvalid": "what was signed with it does not fit it",
}
_USER = ("BadIdentityTokenRejected", "BadIdentityTokenInvalid", "BadUserAccessDenied", "BadUserSignatureInvalid")


def refusal(exc: BaseException, step: Step, own: Own, user: KeyPair | None, clock_ahead: float | None) -> Reason | None:
    """Why a server may have refused us although we believe it; None where certificates have nothing to do with it."""
    name = type(exc).__name__
    theirs = "".join(f'; it says "{printable(note)}"' for note in getattr(exc, "__notes__", ()))
    if step == "login" and user and (name in (*_USER, *_UNTRUSTED, *_TIME, *_ABOUT_OURS)):
        return Reason(
            f"the server does not let the user in who has the certificate {user.file} (thumbprint "
            f"{user.certificate.thumbprint}, valid until {day(user.certificate.not_after)}): {name}{theirs}. It has to be "
            "trusted among the user certificates of the server, and belong to a user there",
            "opcua-user-refused",
        )
    ours = f"the gateway's certificate, {own.file} (thumbprint {own.certificate.thumbprint})"
    if name in _TIME:
        valid = f"from {day(own.certificate.not_before)} until {day(own.certificate.not_after)}"
        off = (
            f"its clock is {ahead(clock_ahead)}"
            if clock_ahead is not None and abs(clock_ahead) > 5
            else "compare its clock with ours"
        )
        text = f"the server does not like the time ({name}{theirs}): {off}. Set the clock of the server; {ours}, is valid {valid}"
        return Reason(text, "opcua-time-refused")
    if name in _ABOUT_OURS:
        text = f"the server refuses {ours}: {_ABOUT_OURS[name].format(uri=own.uri)} ({name}{theirs})"
        return Reason(text, "opcua-certificate-refused")
    broke_off = step == "channel" and isinstance(exc, ConnectionError | AssertionError)
    if name in _UNTRUSTED or broke_off:
        how = "breaks off without a word, as servers do that do" if broke_off else "refuses us, as servers do that do"
        said = "" if broke_off else f" ({name}{theirs})"
        return Reason(
            f"the server {how} not trust {ours}{said}. At the server move it from the rejected to the trusted "
            "certificates, or copy the file there; it may have to be restarted",
            "opcua-certificate-refused",
        )
    return None
