"""Takes secrets out of text that leaves the plant: those that are known, by value; others, by how they are written. Pure.

What is taken out too much costs a question; what is left in costs a password. So in doubt it goes.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from urllib.parse import quote, quote_plus

from gateway.hiding import HIDDEN

SHORTEST = 4  # characters: shorter ones stand in half of all words

SENSITIVE = (
    r"pass(?:wor[dt]|wd|phrase|code)?|pasw\w*|pwd|psw|secret|token|api[_-]?key|private[_-]?key|credential|cookie|csrf|"
    r"mat[_-]?khau"
)
_VALUE = r"""\{[^}\n]*\}?|"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?|[^\s,;}&\]]+"""
# From the word on that tells it, not from the beginning of the key: so the time this takes grows with the text only.
_WRITTEN = re.compile(rf"""((?:{SENSITIVE})[\w.-]{{0,40}}\\?["']?[ \t]{{0,8}}[:=][ \t]{{0,8}})((?:{_VALUE}))""", re.I)
_SPOKEN = re.compile(rf"""(\b(?:{SENSITIVE})(?:\s+(?:is|was|for\s+\S+\s+is|of\s+\S+\s+is))\s+)((?:{_VALUE}))""", re.I)
_OPTION = re.compile(r"""(\s(?:-P|--?pass(?:word)?|--?token|--pw)[= ])(\S+)""")
_AUTHORIZATION = re.compile(r"\b((?:proxy-)?authorization\\?[\"']?\s*[:=]\s*\\?[\"']?)([^\"'\n\\]+)", re.I)
_BEARER = re.compile(r"\b((?:Bearer|Basic|Token|Digest)\s+)([A-Za-z0-9+/=._~-]{8,})")
_NAMED = re.compile(r"\{\s*secret\s*:\s*[\w.-]+\s*\}")  # the name of a secret, which stands elsewhere
_USER_INFO = re.compile(r"(//)([^/\s@\"'<>]{1,300})(?=@)")
# The set-up code of the page, see gateway/web/access/users.py: an older one may be valid on another box.
_SET_UP = re.compile(r"\b[A-HJ-NP-Z2-9]{4}(?:-[A-HJ-NP-Z2-9]{4}){3}\b")
_KEY = re.compile(SENSITIVE, re.I)
# What stands in our own sentences, and in every configuration: nobody is helped where it is taken out.
_COMMON = {
    "password", "passwords", "passwort", "secret", "secrets", "token", "tokens", "credential", "credentials",
    "cookie", "user", "users", "name", "edge", "gateway", "url", "mqtt", "mqtts", "http", "https", "store", "broker",
    "none", "null", "true", "false", "required", "login", "private", "public", "keys", "file", "files", "string",
}  # fmt: skip
_DEEPER = 50  # lines behind a key that may be its value
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S)


def variants(secrets: Iterable[str]) -> list[str]:
    """Each secret as it may stand in a text: plain, in JSON, in an address, in Base64; the longest first."""
    found: set[str] = set()
    for secret in secrets:
        for each in {secret, secret.strip(), *secret.split("\n")}:
            if len(each.strip()) >= SHORTEST and each.strip().lower() not in _COMMON:
                found |= {each, json.dumps(each)[1:-1], json.dumps(each, ensure_ascii=False)[1:-1], repr(each)[1:-1]}
                found |= {quote(each, safe=""), quote_plus(each), b64encode(each.encode()).decode().rstrip("=")}
    return sorted(found, key=lambda each: (-len(each), each))


def redacted(text: str, known: Collection[str], *, by_key: bool = True) -> str:
    """The text without secrets. `known`: what `variants` made of those that are known.

    `by_key`: also what is called a password where nobody knows it; not in a text whose secrets are all known.
    """
    text = _PEM.sub("-----a private key-----", text)
    for each in known:
        text = text.replace(each, HIDDEN)
    text = _SET_UP.sub(HIDDEN, text)
    text = _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    text = _USER_INFO.sub(rf"\1{HIDDEN}", text)
    text = _OPTION.sub(rf"\1{HIDDEN}", text)
    if not by_key:
        return text
    text = _SPOKEN.sub(rf"\1{HIDDEN}", text)
    return _WRITTEN.sub(_quoted, text)


def _quoted(match: re.Match[str]) -> str:
    """In the quotes it had, so that JSON stays JSON."""
    mark = match[2][0]
    return f"{match[1]}{mark}{HIDDEN}{mark}" if mark in "\"'" else match[1] + HIDDEN


def suspected(text: str, environ: Mapping[str, str] | None = None) -> set[str]:
    """Of a configuration that cannot be read as one: whatever may be a secret in it, by its key."""
    found: set[str] = set()
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.lstrip().startswith("#"):
            found |= set(_commented(line))
            continue
        if (key := _KEY.search(line)) is None:
            continue
        value = "\n".join([line[key.end() :], *_deeper(lines[number + 1 : number + _DEEPER], _margin(line))])
        value = _NAMED.sub(" ", value)
        for part in re.split(r"[\s{}\[\],]+", value):
            found |= {part, part.strip("\"'|>-:#"), part.rstrip(":")}
        found |= {quoted for pair in re.findall(r"\"([^\"\n]*)\"|'([^'\n]*)'", value) for quoted in pair}
        found |= {(environ or {}).get(name, "") for name in re.findall(r"\$\{(\w+)", value)}
    for user_info in re.findall(r"//([^/\s@]{1,300})@", text):
        found |= {user_info, *user_info.split(":", 1)}
    return {each for each in found if len(each) >= SHORTEST and not each.startswith("${") and not _is_word(each)}


def _commented(line: str) -> Iterator[str]:
    """What a comment has behind a key, not each of its words: it explains, most of the time."""
    for pattern in (_WRITTEN, _SPOKEN):
        for match in pattern.finditer(_NAMED.sub(" ", line)):
            yield from (match[2], match[2].strip("\"'"))


def _is_word(text: str) -> bool:
    return text.strip("\"'|>-:#{},").lower() in _COMMON


def _deeper(lines: Sequence[str], margin: int) -> Iterator[str]:
    return takewhile(lambda each: not each.strip() or _margin(each) > margin, lines)


def _margin(line: str) -> int:
    return len(line) - len(line.lstrip())
