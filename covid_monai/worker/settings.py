"""Settings of the worker: the keys of `worker.yaml`, their defaults and limits, and how the file is read."""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress, ValidationError, model_validator

from covid_monai.core.errors import unknown_choice
from covid_monai.pacs.connection import ArchiveConnection, Url
from covid_monai.worker.rules import Rules

_SECRET_KEYS = ("password", "token", "secret", "authorization")
_MESSAGES = {  # instead of pydantic's own
    "ip_any_address": "must be an IP address, such as 127.0.0.1",
    "missing": "is missing",
    "path_type": "must be a path",
    "string_pattern_mismatch": "must be letters, digits, - and _, and 32 characters at most",
}


class SettingsError(ValueError):
    """The configuration cannot be used; the message names file, key and allowed values."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Archive(ArchiveConnection):
    """One archive: how to reach it, and how to find new images in it.

    Its `name` labels the jobs in the queue, too: never change it while jobs wait. Its number of `connections`
    is the number of batches at the same time.

    Args:
        source: `orthanc` follows the change feed; `dicomweb` searches with QIDO-RS at intervals.
        dicomweb_url: Orthanc only: root of the DICOMweb service, if it is not `url`/dicom-web.
        event: Orthanc only: change that makes a job.
        start: Orthanc only: where the very first run begins in the change feed.
        poll_seconds: Time between two requests for new images.
        days: DICOMweb only: how many days back studies are searched.
        rules: Rules for this archive instead of the rules of the file.
        confirm_seconds: Longest time until a search must find stored results.
    """

    source: Literal["orthanc", "dicomweb"]
    dicomweb_url: Url | None = None
    event: Literal["new_instance", "stable_series"] = "new_instance"
    start: Literal["now", "beginning"] = "now"
    poll_seconds: float = Field(default=2.0, ge=0.1, le=3600)
    days: int = Field(default=2, ge=1, le=3650)
    rules: Rules | None = None
    confirm_seconds: float = Field(default=20.0, ge=0, le=600)

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.source == "dicomweb" and (self.dicomweb_url or self.event != "new_instance"):
            raise ValueError("dicomweb_url and event are for source: orthanc")
        return self

    @property
    def dicomweb_root(self) -> str:
        """Root of the DICOMweb service."""
        return self.dicomweb_url or (f"{self.url}/dicom-web" if self.source == "orthanc" else self.url)


class Audit(_Section):
    """Audit trail.

    Args:
        file: File of JSON lines; by default `audit.jsonl` in the state folder.
        identifiers: Whether UIDs are written as keyed hashes or as they are.
    """

    file: Path | None = None
    identifiers: Literal["hashed", "plain"] = "hashed"


class Results(_Section):
    """Objects that are stored for a classified image, beside the structured report.

    Args:
        heatmap: Whether a picture shows where the network looked.
        pdf: Whether an encapsulated PDF is stored, too.
        report_refused: Whether a refused image gets a report with the reason.
    """

    heatmap: bool = True
    pdf: bool = False
    report_refused: bool = False


class Limits(_Section):
    """Limits on size, time and number of tries.

    Args:
        object_mib: Largest object that is fetched, in MiB.
        decode_seconds: Longest time to decode an image.
        decode_memory_mib: Address space of the process that decodes first, in MiB.
        attempts: Number of tries until an image with a fault of its own becomes a dead letter.
        longest_wait_seconds: Longest wait between two tries, and while an archive is unavailable.
        stop_seconds: Time for the current images after SIGTERM.
        keep_days: Number of days that finished jobs are remembered.
    """

    object_mib: int = Field(default=256, ge=1, le=4096)
    decode_seconds: float = Field(default=60.0, ge=0.1, le=600)
    decode_memory_mib: int = Field(default=3072, ge=512, le=65536)
    attempts: int = Field(default=5, ge=1, le=100)
    longest_wait_seconds: float = Field(default=300.0, ge=0.1, le=3600)
    stop_seconds: float = Field(default=20.0, ge=0, le=600)
    keep_days: int = Field(default=90, ge=1, le=3650)


class Monitoring(_Section):
    """Address of metrics and health.

    Args:
        host: IP address of this machine. Use an address beyond loopback only behind a proxy that
            authenticates callers.
        port: Port; 0 takes a free one, which the log names.
    """

    host: IPvAnyAddress = IPv4Address("127.0.0.1")
    port: int = Field(default=9108, ge=0, le=65535)


class Settings(_Section):
    """The whole configuration.

    Args:
        bundle: Folder of the bundle; by default the shipped one.
        device: Device of the network, as for `Classifier`.
        backend: Backend of the network, as for `Classifier`.
        state_dir: Folder of the queue and of fetched files, for this service only.
        batch_size: Largest number of images that go through the network together.
        audit: Audit trail.
        results: Objects that are stored.
        limits: Limits on size, time and number of tries.
        monitoring: Address of metrics and health.
        rules: Rules that select images.
        archives: One or several archives.
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
    def _check_archives(self) -> Self:
        names = [archive.name for archive in self.archives]
        if len(set(names)) < len(names):
            raise ValueError("archives: every archive needs a name of its own")
        for archive in self.archives:
            if archive.source == "dicomweb" and self.rules_of(archive).ae_titles:
                raise ValueError(
                    f"archive {archive.name}: ae_titles needs source: orthanc, because DICOMweb does not "
                    "tell who sent an image"
                )
        return self

    def rules_of(self, archive: Archive) -> Rules:
        """Return the archive's own rules, or those of the file."""
        return archive.rules if archive.rules is not None else self.rules

    @property
    def audit_file(self) -> Path:
        """Path of the audit trail."""
        return self.audit.file or self.state_dir / "audit.jsonl"

    @property
    def spool_dir(self) -> Path:
        """Folder of fetched files."""
        return self.state_dir / "spool"


def load_settings(path: str | Path) -> Settings:
    """Read and check a configuration.

    Raises:
        SettingsError: Names the file and every mistake: the key, what is wrong, and what is allowed.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read ({error.strerror}). Check its name and rights."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise SettingsError(f"{path}: not valid YAML{place}: {getattr(error, 'problem', error)}") from error
    if not isinstance(content, dict):
        raise SettingsError(
            f"{path}: expected keys such as state_dir and archives. See deploy/worker/worker.yaml."
        )
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        mistakes = [_explain(item) for item in error.errors(include_input=False, include_url=False)]
        raise SettingsError(f"{path}: " + "; ".join(mistakes)) from error


def _explain(item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    if item["type"] == "extra_forbidden":
        return _explain_unknown_key(location)
    message = _MESSAGES.get(item["type"]) or item["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "must be")
    return f"{'.'.join(location)}: {message}" if location else message


def _explain_unknown_key(location: list[str]) -> str:
    *section, key = location
    if key.lower() in _SECRET_KEYS:
        return (
            f"{'.'.join(location)}: no secrets in this file. Give password_env or token_env (name of an "
            "environment variable), or password_file or token_file (path of a file)"
        )
    message = unknown_choice("key", key, _keys_of(section)).removesuffix(".")
    return f"{'.'.join(section) or 'top level'}: {message}"


def _keys_of(section: list[str]) -> list[str]:
    """Return the keys that are allowed in one section of the file."""
    model: type[BaseModel] = Settings
    for part in section:
        if part.isdigit():  # an item of `archives`
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)
