"""What went wrong with a server, said so that somebody at the machine can mend it."""

from __future__ import annotations

import socket

from adapters.opcua.wire import GarbledError

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
    return f"{name}: {exc}" if str(exc) else name
