"""A database's URL: which SQLite file it names, and how it reads without its secrets."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_plus

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from fmnist_tune.errors import UserError

HIDDEN = "***"
FORM = "such as sqlite:///FILE or postgresql+psycopg://HOST/DATABASE"
_SECRET_KEY = re.compile(r"pass|pwd|secret|token|credential|(api|access|private|account)_?key", re.IGNORECASE)
_SECRET_SETTING = re.compile(rf"({_SECRET_KEY.pattern})\w*\s*=", re.IGNORECASE)  # as odbc_connect has it
# A password with an @ that is not written as %40: SQLAlchemy takes what follows it for the host.
_TWO_ATS = re.compile(r"^([\w+.-]+://[^/@:]*:)[^?]*@[^?]*@")
_UNQUOTED = re.compile(r"[\w+.-]+://[^/@:]*:([^?]*@[^?@]*)@")
_URL_IN_TEXT = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"`]*[^\s'\"`:;,.)]")


def parse(url: str) -> URL:
    """Return a URL's parts.

    Raises:
        UserError: it is none; the message repeats nothing of it, since what is misread may be a password.
    """
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # the second of a port that is no number
        raise UserError(f"--storage {without_secrets(url)}: not the URL of a database, {FORM}") from None


def sqlite_path(url: str) -> Path | None:
    """Return the file that a SQLite URL names; None of another database.

    Raises:
        UserError: it is no URL, or names no file.
    """
    parts = parse(url)
    if parts.get_backend_name() != "sqlite":
        return None
    if parts.drivername not in ("sqlite", "sqlite+pysqlite") or parts.query:
        raise UserError(f"--storage {without_secrets(url)}: write sqlite:///FILE, without options or another driver")
    if not parts.database or parts.database == ":memory:" or parts.database.startswith("file:"):
        raise UserError(
            f"--storage {without_secrets(url)}: not a file, so that the study would be lost; write sqlite:///FILE"
        )
    return Path(parts.database)


def without_secrets(url: str) -> str:
    """Return a database's URL as it may be shown and kept: its password and secret options read ***."""
    url = _TWO_ATS.sub(rf"\1{HIDDEN}@", url)
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return _without_guesses(url)
    if parts.password is None and not any(_is_secret(key, value) for key, value in _options(parts)):
        return url
    options = {key: HIDDEN if _is_secret(key, value) else value for key, value in _options(parts)}
    bare = parts.set(query={}).render_as_string(hide_password=True)
    text = "&".join(f"{key}={value if value == HIDDEN else quote(value, safe='/:,')}" for key, value in options.items())
    return f"{bare}?{text}" if text else bare


def mask(text: str, *urls: str | None) -> str:
    """Return a text in which no secret of a URL is left, neither within a URL nor by itself."""
    for url in urls:
        for secret in _secrets(url) if url else ():
            text = text.replace(secret, HIDDEN)
    return _URL_IN_TEXT.sub(lambda match: without_secrets(match[0]), text)


def _secrets(url: str) -> list[str]:
    """Return what must not be shown of a URL, as it is and as it may be written, the longest first."""
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return []
    secrets = [] if parts.password is None else [str(parts.password)]
    if found := _UNQUOTED.match(url):  # SQLAlchemy takes what follows its first @ for the host
        secrets += [found[1], *found[1].split("@")]
    secrets += [value for key, value in _options(parts) if _is_secret(key, value)]
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret))}
    return sorted((form for form in forms if len(form) > 3), key=len, reverse=True)  # shorter ones are in many words


def _options(parts: URL) -> list[tuple[str, str]]:
    return [
        (key, value) for key, found in parts.query.items() for value in ([found] if isinstance(found, str) else found)
    ]


def _is_secret(key: str, value: str) -> bool:
    return bool(_SECRET_KEY.search(key) or _SECRET_SETTING.search(unquote_plus(value)))


def _without_guesses(text: str) -> str:
    """Return what is no URL without what may be a password in it."""
    scheme, colon, rest = text.partition("://")
    if not colon:
        return HIDDEN if set("@=") & set(text) else text
    return f"{scheme}://{HIDDEN}" if set("@:=") & set(rest) else text
