"""What nobody should read of a configuration: passwords and tokens, wherever somebody has written them. Pure.

    lines of a file ─▶ the same lines, as long, with stars      mqtt: {user: a, password: *****************
    a message       ─▶ the same without what it quotes          '***' cannot be the name of a secret

A file with a mistake in it cannot be parsed, and the mistake may be in the password itself. So a line is hidden from the value
of such a key to its end, and what follows as long as it may belong to that value: rather a word too many than one too few.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

HIDDEN = "***"

_WORDS = re.compile(r"pass|pasw|psw|pwd|token|secret|mậtkhẩu|matkhau", re.I)
_NEAR = ("password", "token")  # keys that are nearly these are mistyped
_OF_VARIABLE = re.compile(r"pw|key|cred", re.I)
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}"

# A name and what follows it: possessive, as a line may have a megabyte.
_NAMED = re.compile(r"""(?<![\w$\\.-])(?P<key>[\w$\\.-]++)(?P<after>['"]?\s*+[:=]\s*+|['"]?\s++|['"]?$)""")
_AT_KEY = re.compile(r"""(?:^|[{,\[])\s*+(?:[-?]\s++)*+['"]?$""")  # what stands before a name where a key is expected
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U000([0-9A-Fa-f]{5}))")
_LOOKED_UP = re.compile(rf"""\{{\s*(['"]?)secret\1\s*:\s*(['"]?){_NAME}\2\s*\}}""")
_ITS_NAME = re.compile(rf"""(['"]?){_NAME}\1\s*(?=[,}}#]|$)""")
_NAME_LINE = re.compile(rf"""\s*(['"]?)secret\1\s*:\s+(['"]?){_NAME}\2\s*""")
_KEY_LINE = re.compile(r"""\s*+(?:[-?]\s++)*+(?:[\w.$()-]++|"[^"]*+"|'[^']*+')\s*+:(?:\s|$)|---(?:\s|$)""")
_ALIAS = re.compile(r"\*([^\s,\[\]{}]+)")
_ANCHOR = re.compile(r"&([^\s,\[\]{}]+)\s*")
_DEFAULT = re.compile(r"(\$\{([^}:${]*+):-)([^}]*+)")
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_QUOTED = re.compile(r"""(['"]).*(['"])""", re.DOTALL)


@lru_cache(maxsize=4096)
def is_secret_key(key: str) -> bool:
    """Whether the value of this key, or of one that was meant by it, is for nobody."""
    word = key.lower()
    return bool(_WORDS.search(word)) or (len(word) < 20 and bool(difflib.get_close_matches(word, _NEAR, 1, 0.8)))


def is_name(value: str) -> bool:
    """Whether this may be the name of a secret, as in `{secret: name}`, rather than the secret itself."""
    return re.fullmatch(_NAME, value) is not None


def speaks_of_secrets(comment: str) -> bool:
    """Whether a comment has one of the words, in English or Vietnamese, whichever way its letters are composed."""
    return bool(_WORDS.search(re.sub(r"\s+", "", unicodedata.normalize("NFC", comment))))


def without_users(text: str, *, as_long: bool = False) -> str:
    """In every line without what stands in an address before the last @: no password is too odd for this."""
    if "//" not in text or "@" not in text:
        return text
    lines = text.split("\n")
    for i, line in enumerate(lines):
        start, end = line.find("//") + 2, line.rfind("@")
        if 2 <= start < end:
            lines[i] = line[:start] + ("*" * (end - start) if as_long else HIDDEN) + line[end:]
    return "\n".join(lines)


def without_defaults(text: str, *, as_long: bool = False) -> str:
    """`${MQTT_PW:-what stands here}`, and what stands in an expression that is none."""

    def hidden(match: re.Match[str]) -> str:
        name = match[2]
        if _VARIABLE.fullmatch(name) and not _OF_VARIABLE.search(name) and not is_secret_key(name):
            return match[0]
        return match[1] + ("*" * len(match[3]) if as_long else HIDDEN)

    return _DEFAULT.sub(hidden, text)


def unsaid(message: str) -> str:
    """A message without addresses and defaults that are secrets."""
    return without_defaults(without_users(message))


def unquoted(message: str) -> str:
    """A message about a secret, without anything that it quotes."""
    return _QUOTED.sub(rf"\1{HIDDEN}\2", message)


def starred(line: str) -> str:
    """One line by itself; see `starred_lines`."""
    return _starred(line, ())[0]


def starred_lines(lines: Sequence[str]) -> list[str]:
    """The same lines, each as long, with stars in place of secrets; lines without any are the same objects."""
    aliases = {
        alias[1]
        for line in lines
        if "*" in line
        for _, start in _secrets(line, ())
        if (alias := _ALIAS.match(line, start)) is not None
    }
    shown: list[str] = []
    value: _Value | None = None
    for line in lines:
        if value is not None and line.strip():
            if value.goes_on(line):
                shown.append(line if _NAME_LINE.fullmatch(line) else _stars(line, 0))
                continue
            value = None
        text, begun = _starred(line, aliases)
        value = value if begun is None else begun
        shown.append(text)
    return shown


@dataclass(slots=True)
class _Value:
    """One that may go on in the next lines."""

    column: int  # of its key: what is deeper belongs to it
    quote: str = ""  # which is open

    def goes_on(self, line: str) -> bool:
        if self.quote:
            if _is_open(line, self.quote):  # one quotation mark more: it ends here
                self.quote = ""
            return True
        indent = _indent(line)
        item = indent == self.column and line[indent : indent + 1] == "-"  # of a list that is the value
        return indent > self.column or item or _KEY_LINE.match(line) is None


def _starred(line: str, anchors: Collection[str]) -> tuple[str, _Value | None]:
    """A line with stars, and the value that begins in it and may go on."""
    text, value = line, None
    found = next(_secrets(line, anchors), None)
    if found is not None:
        key, start = found
        quote = line[start : start + 1]
        quote = quote if quote in ("'", '"') and _is_open(line[start:], quote) else ""
        first = not line[:key].strip(" \t-?'\"")
        value = _Value(len(line[:key].rstrip("'\"")) if first else _indent(line), quote)
        text = _stars(line, start)
    return without_defaults(without_users(text, as_long=True), as_long=True), value


def _secrets(line: str, anchors: Collection[str]) -> Iterator[tuple[int, int]]:
    """Where the key of a secret begins, and where its value; of a name that is looked up elsewhere nothing."""
    at = 0
    while (match := _NAMED.search(line, at)) is not None:
        key, start = _unescaped(match["key"]), match.end()
        at = start
        if not is_secret_key(key) or not (set(match["after"]) & set(":=") or _AT_KEY.search(line, 0, match.start())):
            continue
        named = _LOOKED_UP.match(line, start) or (_ITS_NAME.match(line, start) if key == "secret" else None)
        if named is None:
            yield match.start(), start
            break
        at = named.end()
    if anchors:
        for anchor in _ANCHOR.finditer(line):
            if anchor[1] in anchors:
                yield anchor.start(), anchor.end()


def _unescaped(key: str) -> str:
    if "\\" not in key:
        return key
    return _ESCAPE.sub(lambda escape: chr(int(escape[1] or escape[2] or escape[3], 16)), key)


def _stars(line: str, start: int) -> str:
    start = max(start, _indent(line))
    return line[:start] + "*" * len(line[start:].rstrip())


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is_open(text: str, quote: str) -> bool:
    """Whether the number of these quotation marks is odd."""
    return (re.sub(r"\\.", "", text) if quote == '"' else text).count(quote) % 2 == 1
