"""Settings of the worker: the keys of `worker.yaml`, their defaults and limits, and how the file is read.

`deploy/worker/worker.yaml` explains every key.
"""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, IPvAnyAddress, ValidationError, model_validator

from covid_monai.core.errors import unknown_choice
from covid_monai.pacs.connection import ArchiveConnection, Section, Url
from covid_monai.worker.queue import queue_path
from covid_monai.worker.rules import Rules

_FULL_SEARCH_SECONDS = 60.0  # by default
_SECRET_KEYS = ("password", "token", "secret", "authorization")
_MESSAGES = {  # instead of pydantic's own
    "ip_any_address": "must be an IP address, such as 127.0.0.1",
    "missing": "is missing",
    "path_type": "must be a path",
    "string_pattern_mismatch": "must be letters, digits, - and _, and 32 characters at most",
}


class SettingsError(ValueError):
    """The configuration cannot be used; the message names file, key and allowed values."""


class Archive(ArchiveConnection):
    """One archive: how to reach it, and how to find new images in it.

    Its `name` labels the jobs in the queue, too: never change it while jobs wait. Its number of `connections`
    is the number of batches at the same time.
    """

    source: Literal["orthanc", "dicomweb"]
    dicomweb_url: Url | None = None
    event: Literal["new_instance", "stable_series"] = "new_instance"
    start: Literal["now", "beginning"] = "now"
    poll_seconds: float = Field(default=2.0, ge=0.1, le=3600)
    full_search_seconds: float | None = Field(default=None, ge=0.1, le=86400)
    days: int = Field(default=2, ge=1, le=3650)
    rules: Rules | None = None
    confirm_seconds: float = Field(default=20.0, ge=0, le=600)

    @property
    def seconds_between_full_searches(self) -> float:
        """Seconds from the end of a search of all `days` to the next one."""
        return self.full_search_seconds or max(_FULL_SEARCH_SECONDS, self.poll_seconds)

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.seconds_between_full_searches < self.poll_seconds:
            raise ValueError(
                f"full_search_seconds ({self.full_search_seconds:g}) must be at least poll_seconds "
                f"({self.poll_seconds:g}), because a full search costs the archive more"
            )
        if self.source == "dicomweb" and (self.dicomweb_url or self.event != "new_instance"):
            raise ValueError("dicomweb_url and event are for source: orthanc")
        return self

    @property
    def dicomweb_root(self) -> str:
        """Root of the DICOMweb service."""
        return self.dicomweb_url or (f"{self.url}/dicom-web" if self.source == "orthanc" else self.url)


class Audit(Section):
    """Audit trail."""

    file: Path | None = None
    identifiers: Literal["hashed", "plain"] = "hashed"


class Results(Section):
    """Objects that are stored for a classified image, beside the structured report."""

    heatmap: bool = True
    pdf: bool = False
    report_refused: bool = False


class Limits(Section):
    """Limits on size, time and number of tries."""

    object_mib: int = Field(default=256, ge=1, le=4096)
    decode_seconds: float = Field(default=60.0, ge=0.1, le=600)
    decode_memory_mib: int = Field(default=3072, ge=512, le=65536)
    attempts: int = Field(default=5, ge=1, le=100)
    longest_wait_seconds: float = Field(default=300.0, ge=0.1, le=3600)
    stop_seconds: float = Field(default=20.0, ge=0, le=600)
    keep_days: int = Field(default=90, ge=1, le=36500)


class Monitoring(Section):
    """Address of metrics and health; beyond loopback, a proxy must authenticate callers."""

    host: IPvAnyAddress = IPv4Address("127.0.0.1")
    port: int = Field(default=9108, ge=0, le=65535)
    names: tuple[str, ...] = ()  # that callers put into Host, beside address and name of this machine


class Settings(Section):
    """The whole configuration."""

    bundle: Path | None = None
    trust_code: bool = False  # run the code in the bundle's YAML
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
    def _check_folders(self) -> Self:
        audit, own = self.audit_file.absolute(), (queue_path(self.state_dir), self.state_dir / "lock")
        if audit in [path.absolute() for path in own] or self.spool_dir.absolute() in audit.parents:
            raise ValueError(f"audit.file: the worker itself uses {audit}. Set another file")
        return self

    @model_validator(mode="after")
    def _check_archives(self) -> Self:
        names = [archive.name for archive in self.archives]
        if len(set(names)) < len(names):
            raise ValueError("archives: every archive needs a name of its own")
        roots = {archive.dicomweb_root.lower(): archive.name for archive in reversed(self.archives)}
        for archive in self.archives:
            if (other := roots[archive.dicomweb_root.lower()]) != archive.name:
                raise ValueError(
                    f"archives {other} and {archive.name} have the same address {archive.dicomweb_root}, so "
                    "each image would be answered twice. Remove one of them"
                )
            if archive.source == "dicomweb" and archive.days >= self.limits.keep_days:
                raise ValueError(
                    f"limits.keep_days ({self.limits.keep_days}) must exceed the days ({archive.days}) of "
                    f"archive {archive.name}. Else a search finds images that the queue has forgotten, and "
                    f"they are answered again. Set keep_days to {archive.days + 1} or more"
                )
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


_SECTIONS: dict[str, type[Section]] = {
    "archives": Archive,
    "audit": Audit,
    "limits": Limits,
    "monitoring": Monitoring,
    "results": Results,
    "rules": Rules,
}


def load_settings(path: str | Path) -> Settings:
    """Read and check a configuration; a `SettingsError` names the file and every mistake in it."""
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
    names = [part for part in section if not part.isdigit()]  # a digit is an item of `archives`
    model = _SECTIONS[names[-1]] if names else Settings
    message = unknown_choice("key", key, model.model_fields).removesuffix(".")
    return f"{'.'.join(section) or 'top level'}: {message}"
