"""What the service may do: the keys of `worker.yaml`, their defaults and bounds."""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from covid_monai.worker.rules import Rules


class SettingsError(ValueError):
    """A configuration that cannot be used; names file, key and what is allowed."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Archive(_Section):
    """One archive: where it is, how it is watched, how the service proves who it is.

    Args:
        name: Label in logs, metrics, audit and queue; never change it while jobs wait.
        source: `orthanc` follows the change feed, `dicomweb` searches by QIDO-RS again and again.
        url: Root of Orthanc's REST API, or of the DICOMweb service.
        dicomweb_url: Orthanc only, if its DICOMweb root is not `url`/dicom-web.
        event: Orthanc only: which change makes jobs.
        start: Orthanc only: where the very first run begins in the change feed.
        poll_seconds: Pause between two looks for new images.
        days: DICOMweb only: studies of how many days back are searched.
        rules: Instead of the file's own `rules`, for this archive.
        timeout_seconds: Until a connection stands, and between two packets.
        transfer_seconds: For one whole answer.
        confirm_seconds: How long stored results may take to be found.
        connections: Batches under way at once.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    source: Literal["orthanc", "dicomweb"]
    url: str
    dicomweb_url: str | None = None
    event: Literal["new_instance", "stable_series"] = "new_instance"
    start: Literal["now", "beginning"] = "now"
    poll_seconds: float = Field(default=2.0, ge=0.1, le=3600)
    days: int = Field(default=2, ge=1, le=3650)
    rules: Rules | None = None
    username: str | None = None
    password_env: str | None = None
    password_file: Path | None = None
    token_env: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    timeout_seconds: float = Field(default=20.0, ge=0.1, le=600)
    transfer_seconds: float = Field(default=120.0, ge=1, le=3600)
    confirm_seconds: float = Field(default=20.0, ge=0, le=600)
    connections: int = Field(default=2, ge=1, le=16)

    @field_validator("url", "dicomweb_url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give a full address such as https://pacs.example/orthanc")
        if parts.username or parts.password:
            raise ValueError("no credentials in an address: give username and password_env or password_file")
        if parts.query or parts.fragment:
            raise ValueError("an address without ? and #")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _check_together(self) -> "Archive":
        secrets = ("password_env", "password_file", "token_env", "token_file")
        given = [key for key in secrets if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of {', '.join(given)}, not several")
        if (self.username is None) != (not given or given[0].startswith("token")):
            raise ValueError("username goes with password_env or password_file, and only with them")
        if self.source == "dicomweb" and (self.dicomweb_url or self.event != "new_instance"):
            raise ValueError("dicomweb_url and event are for source: orthanc")
        if self.client_key and not self.client_certificate:
            raise ValueError("client_key goes with client_certificate")
        return self

    @property
    def dicomweb(self) -> str:
        """Root of the DICOMweb service."""
        return self.dicomweb_url or (f"{self.url}/dicom-web" if self.source == "orthanc" else self.url)

    def secret(self) -> str | None:
        """Password or token, read anew at each call so that it can be changed in its place.

        Raises:
            SettingsError: If the variable or file is missing or empty; never quotes the secret.
        """
        variable, path = self.password_env or self.token_env, self.password_file or self.token_file
        if variable is None and path is None:
            return None
        if variable is not None:
            found = os.environ.get(variable, "")
        else:
            try:
                found = Path(str(path)).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise SettingsError(f"archive {self.name}: cannot read {path} ({error.strerror})") from error
        if not found:
            place = f"environment variable {variable}" if variable is not None else f"file {path}"
            raise SettingsError(f"archive {self.name}: {place} holds no secret; put it there")
        return found


class Audit(_Section):
    """The trail of what was decided.

    Args:
        file: JSON Lines; None is `audit.jsonl` in the state folder.
        identifiers: Whether UIDs are written as a keyed hash, or as they are.
    """

    file: Path | None = None
    identifiers: Literal["hashed", "plain"] = "hashed"


class Results(_Section):
    """Which objects go out for a classified image.

    Args:
        heatmap: A picture of where the network looked, beside the structured report.
        pdf: An encapsulated PDF too.
        report_refused: Whether a refused image gets a report that says so.
    """

    heatmap: bool = True
    pdf: bool = False
    report_refused: bool = False


class Limits(_Section):
    """What one fetched object may cost.

    Args:
        object_mib: Largest object, in MiB.
        decode_seconds: Longest decoding.
        decode_memory_mib: Address space of the process that decodes first.
        attempts: Tries before what is the object's own fault becomes a dead letter.
        longest_pause_seconds: Between two tries, and while an archive is down.
        stop_seconds: For the work in hand after SIGTERM.
        keep_days: How long finished jobs are remembered.
    """

    object_mib: int = Field(default=256, ge=1, le=4096)
    decode_seconds: float = Field(default=60.0, ge=0.1, le=600)
    decode_memory_mib: int = Field(default=3072, ge=512, le=65536)
    attempts: int = Field(default=5, ge=1, le=100)
    longest_pause_seconds: float = Field(default=300.0, ge=0.1, le=3600)
    stop_seconds: float = Field(default=20.0, ge=0, le=600)
    keep_days: int = Field(default=90, ge=1, le=3650)


class Monitoring(_Section):
    """Where metrics and health are served.

    Args:
        host: An address of this machine; beyond loopback only behind something that asks who calls.
        port: 0 takes a free one, which the log names.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=9108, ge=0, le=65535)

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        ip_address(host)
        return host


class Settings(_Section):
    """The whole file.

    Args:
        bundle: Folder of the bundle; None takes the shipped one.
        device: As for the class `Classifier`, like the next one.
        backend: Who computes the network.
        state_dir: Where the queue and fetched files lie; for this service alone.
        batch_size: Images through the network at once while work waits.
        rules: What is answered; see `Rules`.
        archives: One or several.
    """

    bundle: Path | None = None
    device: str | None = None
    backend: Literal["openvino", "onnxruntime", "torch"] | None = None
    state_dir: Path
    batch_size: int = Field(default=8, ge=1, le=256)
    audit: Audit = Audit()
    results: Results = Results()
    limits: Limits = Limits()
    monitoring: Monitoring = Monitoring()
    rules: Rules = Rules()
    archives: tuple[Archive, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_archives(self) -> "Settings":
        names = [archive.name for archive in self.archives]
        if len(set(names)) < len(names):
            raise ValueError("archives: every archive needs a name of its own")
        for archive in self.archives:
            if archive.source == "dicomweb" and self.rules_of(archive).ae_titles:
                raise ValueError(
                    f"archive {archive.name}: ae_titles needs source: orthanc (DICOMweb tells no sender)"
                )
        return self

    def rules_of(self, archive: Archive) -> Rules:
        """The archive's own rules, or those for all."""
        return archive.rules if archive.rules is not None else self.rules

    @property
    def audit_file(self) -> Path:
        """Where the audit trail goes."""
        return self.audit.file or self.state_dir / "audit.jsonl"
