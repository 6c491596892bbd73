"""A database's URL: its SQLite file, and its form without secrets."""

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
_SECRET_SETTING = re.compile(rf"({_SECRET_KEY.pattern})\w*\s*=", re.IGNORECASE)  # as in odbc_connect
# A password with an @ not written as %40: SQLAlchemy takes the text after it for the host.
_TWO_ATS = re.compile(r"^([\w+.-]+://[^/@:]*:)[^?]*@[^?]*@")
_UNQUOTED = re.compile(r"[\w+.-]+://[^/@:]*:([^?]*@[^?@]*)@")
_URL_IN_TEXT = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"`]*[^\s'\"`:;,.)]")


def parse(url: str) -> URL:
    """Return a URL's parts.

    Raises:
        UserError: it is no URL; the message does not quote it, since a misread part may be a password.
    """
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # ValueError: the port is no number
        raise UserError(f"--storage {without_secrets(url)}: not the URL of a database, {FORM}") from None


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL; None for another database.

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
    """Return a database's URL fit to be shown and stored: its password and secret options are masked as ***."""
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
    """Remove the secrets of URLs from a text, both within a URL and on their own."""
    for url in urls:
        for secret in _secrets(url) if url else ():
            text = text.replace(secret, HIDDEN)
    return _URL_IN_TEXT.sub(lambda match: without_secrets(match[0]), text)


def _secrets(url: str) -> list[str]:
    """Return the secrets of a URL, as they are and in other spellings, the longest first."""
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return []
    secrets = [] if parts.password is None else [str(parts.password)]
    if found := _UNQUOTED.match(url):  # SQLAlchemy takes the text after its first @ for the host
        secrets += [found[1], *found[1].split("@")]
    secrets += [value for key, value in _options(parts) if _is_secret(key, value)]
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret))}
    return sorted((form for form in forms if len(form) > 3), key=len, reverse=True)  # shorter ones occur in many words


def _options(parts: URL) -> list[tuple[str, str]]:
    return [
        (key, value) for key, found in parts.query.items() for value in ([found] if isinstance(found, str) else found)
    ]


def _is_secret(key: str, value: str) -> bool:
    return bool(_SECRET_KEY.search(key) or _SECRET_SETTING.search(unquote_plus(value)))


def _without_guesses(text: str) -> str:
    """Return a malformed URL without what may be a password."""
    scheme, colon, rest = text.partition("://")
    if not colon:
        return HIDDEN if set("@=") & set(text) else text
    return f"{scheme}://{HIDDEN}" if set("@:=") & set(rest) else text
