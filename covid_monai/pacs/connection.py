"""Connection settings of an archive, and addresses of the instances in it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_UID = re.compile(r"(?=.{1,64}$)\d+(\.\d+)*", re.ASCII)
_INSTANCE_PATH = re.compile(r"/studies/([^/]+)/series/([^/]+)/instances/([^/]+)")
_SECRET_SOURCES = ("password_env", "password_file", "token_env", "token_file")


class CredentialsError(ValueError):
    """Credentials cannot be read; the message names the archive, and the variable or file."""


def is_uid(text: str) -> bool:
    """Return whether a text is a UID: digits and dots, 64 characters at most (PS3.5 section 9.1).

    >>> is_uid("1.2.840"), is_uid("1.2/../3")
    (True, False)
    """
    return _UID.fullmatch(text) is not None


@dataclass(frozen=True)
class InstanceAddress:
    """Address of one instance in an archive."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str

    @classmethod
    def from_path(cls, path: str) -> "InstanceAddress | None":
        """Read a WADO-RS path; return None if it is not one, or if one of its UIDs is malformed.

        >>> InstanceAddress.from_path("/studies/1.2/series/1.3/instances/1.4").sop_instance_uid
        '1.4'
        """
        match = _INSTANCE_PATH.fullmatch(path)
        address = cls(*match.groups()) if match else None
        return address if address and address.is_well_formed else None

    @property
    def is_well_formed(self) -> bool:
        """Whether all three are UIDs; a text that is not a UID must never become part of a URL."""
        return all(map(is_uid, (self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid)))

    @property
    def path(self) -> str:
        """Path below the root of a DICOMweb service (PS3.18 section 10.4)."""
        series = f"/studies/{self.study_instance_uid}/series/{self.series_instance_uid}"
        return f"{series}/instances/{self.sop_instance_uid}"


UNKNOWN_ADDRESS = InstanceAddress("", "", "")


def check_url(url: str) -> str:
    """Return the root address of a service without its last slash, or raise `ValueError` if it is not one."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("give a full address such as https://pacs.example/orthanc")
    if parts.username or parts.password:
        raise ValueError("no credentials in an address: give username and password_env or password_file")
    if parts.query or parts.fragment:
        raise ValueError("give an address without ? and #")
    return url.rstrip("/")


Url = Annotated[str, AfterValidator(check_url)]


class Section(BaseModel):
    """Settings of which every key is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ArchiveConnection(Section):
    """How to reach an archive, and how to prove who asks.

    Give at most one of the four sources of a secret; a password needs a `username`, too.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")  # label in messages, logs and metrics
    url: Url
    username: str | None = None
    password_env: str | None = None
    password_file: Path | None = None
    token_env: str | None = None  # bearer token
    token_file: Path | None = None
    ca_file: Path | None = None  # by default the certificates of the package `certifi`
    client_certificate: Path | None = None
    client_key: Path | None = None  # if it is not in the file of the certificate
    timeout_seconds: float = Field(default=20.0, ge=0.1, le=600)  # to connect, and between two packets
    transfer_seconds: float = Field(default=120.0, ge=1, le=3600)  # for one request with its whole answer
    connections: int = Field(default=2, ge=1, le=16)

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        given = [key for key in _SECRET_SOURCES if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of {', '.join(given)}, not several")
        if (self.username is None) != (not given or given[0].startswith("token")):
            raise ValueError("username goes with password_env or password_file, and only with them")
        if self.client_key and not self.client_certificate:
            raise ValueError("client_key goes with client_certificate")
        return self

    @property
    def dicomweb_root(self) -> str:
        """Root of the DICOMweb service."""
        return self.url

    def read_secret(self) -> str | None:
        """Return the password or token; it is read at each call, so that it can be changed at any time.

        A `CredentialsError` says that the variable or file is missing or empty; it never holds the secret.
        """
        variable, path = self.password_env or self.token_env, self.password_file or self.token_file
        try:
            if path is not None:
                place, secret = f"file {path}", path.read_text(encoding="utf-8").strip()
            elif variable is not None:
                place, secret = f"environment variable {variable}", os.environ.get(variable, "")
            else:
                return None
        except OSError as error:
            raise CredentialsError(
                f"archive {self.name}: cannot read {path} ({error.strerror}). Check its name and rights."
            ) from error
        if not secret:
            raise CredentialsError(
                f"archive {self.name}: {place} holds no secret. Put the password or token there."
            )
        return secret
