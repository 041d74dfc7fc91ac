"""Every setting of Tailor, read once from the environment and checked at start.

`docs/settings.md` is generated from this class by `tailor settings`; a test holds both together.
"""

import base64
import os
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import quote, unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.addresses import (
    checked_broker_address,
    checked_database_address,
    checked_folder_address,
    checked_web_address,
    masked,
)

ENVIRONMENT_PREFIX = "TAILOR_"
_TEST_PREFIX = "TAILOR_TEST_"
_FILE_SUFFIX = "_FILE"
SECRET_KEY_BYTES = 32
_HIGHEST_PORT = 65535
REPOSITORY_ROOT = Path(__file__).resolve().parent.parent


class SettingsError(Exception):
    """One or more settings cannot be used; the text lists all of them, a sentence each."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, extra="ignore", frozen=True
    )

    data_dir: Path = Field(
        default=Path("data"),
        description="Folder for everything Tailor keeps: database, examples, models, runs. "
        "A name without a leading slash is a folder beside Tailor's own files.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address on which the pages are served. 0.0.0.0 opens them to the network; "
        "browsers elsewhere are answered once TAILOR_PUBLIC_URL names the address they use.",
    )
    port: int = Field(
        default=8000, ge=1, le=_HIGHEST_PORT, description="Port on which the pages are served."
    )
    public_url: str = Field(
        default="",
        description="Address people type to reach Tailor, such as https://tailor.example.org. "
        "Empty: http://127.0.0.1 and http://localhost on the port.",
    )
    database_url: str = Field(
        default="",
        description="postgresql://user:password@host/name, or sqlite:////whole/path. "
        "Empty: SQLite in the data folder.",
    )
    database_password: SecretStr = Field(
        default=SecretStr(""),
        description="Password of the PostgreSQL user, where the address does not hold one.",
    )
    broker_url: str = Field(
        default="",
        description="redis://host:6379/0 for the job queue, or filesystem:///folder. "
        "Empty: a queue folder in the data folder.",
    )
    storage_url: str = Field(
        default="",
        description="file:///folder for uploads, models and runs, shared by all of Tailor's "
        "processes. Empty: the data folder.",
    )
    inference_url: str = Field(
        default="",
        description="Address of the OpenAI-compatible server that answers in the chat. "
        "Empty: the built-in one on this machine.",
    )
    inference_host: str = Field(
        default="127.0.0.1", description="Address on which the built-in chat server listens."
    )
    inference_port: int = Field(
        default=0,
        ge=0,
        le=_HIGHEST_PORT,
        description="Port of the built-in chat server. 0: the port of the pages plus one.",
    )
    inference_token: SecretStr = Field(
        default=SecretStr(""),
        description="Shared secret between the pages and the chat server. "
        "Empty: one is made in the data folder's keys.",
    )
    inference_idle_seconds: int = Field(
        default=600,
        ge=5,
        le=86400,
        description="Seconds without a question after which a model leaves memory.",
    )
    secret_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key that encrypts stored tokens (32 bytes, base64). "
        "Empty: one is made in the data folder's keys.",
    )
    hub_url: str = Field(
        default="https://huggingface.co",
        validation_alias="HF_ENDPOINT",
        description="Address of the model hub from which base models are downloaded.",
    )
    offline: bool = Field(
        default=False, description="true: never ask the model hub for anything, and say so."
    )
    base_model_shelf: Path | None = Field(
        default=None,
        description="A shelf file of your own in place of the built-in list of base models.",
    )
    model_folders: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="Folders, separated by colons, under which an administrator may register "
        "base models. Empty: any folder that the worker can read.",
    )
    max_upload_bytes: int = Field(
        default=2_000_000_000, ge=1024, description="Largest upload of examples, in bytes."
    )
    max_examples: int = Field(
        default=1_000_000, ge=1, description="Most examples that one project may hold."
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses of reverse proxies whose X-Forwarded-For is believed, "
        "separated by commas.",
    )
    spare_training_process: bool = Field(
        default=True,
        description="true: an idle worker keeps one training process that has loaded its "
        "libraries, so that trainings begin seconds sooner. It holds about 300 MB.",
    )
    processor_parts: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Into how many parts a worker without a graphics card divides its processor. "
        "Each trains one run at a time with its share of the cores and the memory, and one run "
        "may use several. More than one is for machines with very many cores.",
    )
    measure_machine: bool = Field(
        default=True,
        description="Measure once, when nothing waits, how fast a worker's machine trains and what "
        "memory it takes; without it, times and sizes are foretold from what is usual.",
    )
    log_level: str = Field(default="info", description="debug, info, warning or error.")

    @field_validator("model_folders", mode="before")
    @classmethod
    def _split_folders(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(Path(part) for part in value.split(":") if part)
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        # A folder that is not named whole lies beside Tailor, wherever a command is typed.
        folder = (REPOSITORY_ROOT / value.expanduser()).resolve()
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file, not a folder.")
        return folder

    @field_validator("base_model_shelf")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("there is no such file.")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        return checked_database_address(value) if value else value

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: str) -> str:
        return checked_broker_address(value) if value else value

    @field_validator("storage_url")
    @classmethod
    def _known_storage(cls, value: str) -> str:
        return checked_folder_address(value) if value else value

    @field_validator("inference_url", "public_url", "hub_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        return checked_web_address(value) if value else value

    @field_validator("inference_url")
    @classmethod
    def _without_version(cls, value: str) -> str:
        # Clients of this protocol are often given the address with /v1; ours adds it itself.
        return value.removesuffix("/v1")

    @field_validator("secret_key")
    @classmethod
    def _whole_key(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            try:
                key = base64.b64decode(value.get_secret_value(), validate=True)
            except ValueError:
                key = b""
            if len(key) != SECRET_KEY_BYTES:
                raise ValueError(
                    f"it must be {SECRET_KEY_BYTES} random bytes in base64, as the command "
                    f"“openssl rand -base64 {SECRET_KEY_BYTES}” prints them."
                )
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            raise ValueError("it must be debug, info, warning or error.")
        return value.lower()

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.resolved_inference_port > _HIGHEST_PORT:
            raise ValueError(
                f"{ENVIRONMENT_PREFIX}PORT is {self.port}, so the chat server would get a port "
                f"that does not exist; set {ENVIRONMENT_PREFIX}INFERENCE_PORT too."
            )
        if self.inference_port == self.port:
            raise ValueError(
                f"{ENVIRONMENT_PREFIX}INFERENCE_PORT and {ENVIRONMENT_PREFIX}PORT are both "
                f"{self.port}; choose two different ports."
            )
        return self

    @property
    def resolved_database_url(self) -> str:
        """The SQLAlchemy URL, with the driver named."""
        if not self.database_url:
            return f"sqlite:///{self.data_dir / 'db' / 'tailor.sqlite'}"
        parts = urlsplit(self.database_url)
        if parts.scheme == "sqlite":
            return self.database_url
        password = self.database_password.get_secret_value()
        place = parts.netloc
        if password and parts.password is None:
            user, _, host = place.rpartition("@")
            place = f"{user}:{quote(password, safe='')}@{host}"
        return parts._replace(scheme="postgresql+psycopg", netloc=place).geturl()

    @property
    def resolved_broker_url(self) -> str:
        return self.broker_url or f"filesystem://{self.data_dir / 'queue'}"

    @property
    def storage_root(self) -> Path:
        if not self.storage_url:
            return self.data_dir
        return Path(unquote(urlsplit(self.storage_url).path)).resolve()

    @property
    def resolved_inference_port(self) -> int:
        return self.inference_port or self.port + 1

    @property
    def resolved_inference_url(self) -> str:
        return self.inference_url or f"http://127.0.0.1:{self.resolved_inference_port}"

    @property
    def resolved_public_url(self) -> str:
        return self.public_url or f"http://127.0.0.1:{self.port}"

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Host names that a request may carry; any other is refused (DNS rebinding)."""
        public = urlsplit(self.public_url).hostname
        own = () if self.host in {"0.0.0.0", "::"} else (self.host,)  # noqa: S104
        return tuple(
            dict.fromkeys(("127.0.0.1", "localhost", "[::1]", *own, *filter(None, [public])))
        )


def environment_name(field_name: str) -> str:
    """Return the environment variable that sets a field."""
    alias = Settings.model_fields[field_name].validation_alias
    return alias if isinstance(alias, str) else ENVIRONMENT_PREFIX + field_name.upper()


def load_settings() -> Settings:
    """Read the settings from the environment.

    A variable NAME_FILE names a readable file that holds the value of NAME (for secrets).

    Raises:
        SettingsError: with one sentence for each setting that cannot be used.
    """
    _refuse_unknown_names()
    try:
        return Settings(**_values_from_files())
    except ValidationError as error:
        raise SettingsError("\n".join(_sentences(error))) from error


def _refuse_unknown_names() -> None:
    """A name with a slip in it would be passed over, and Tailor would run on its defaults."""
    known = {environment_name(name) for name in Settings.model_fields}
    unknown = [
        name
        for name in os.environ
        if name.startswith(ENVIRONMENT_PREFIX)
        and not name.startswith(_TEST_PREFIX)
        and name.removesuffix(_FILE_SUFFIX) not in known
    ]
    if unknown:
        raise SettingsError("\n".join(_unknown(name, known) for name in sorted(unknown)))


def _unknown(name: str, known: set[str]) -> str:
    alike = get_close_matches(name.removesuffix(_FILE_SUFFIX), known, n=1)
    meant = f" Did you mean {alike[0]}?" if alike else ""
    return f"{name} is set, but Tailor has no such setting.{meant}"


def _values_from_files() -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field_name, field in Settings.model_fields.items():
        variable = environment_name(field_name) + _FILE_SUFFIX
        if path := os.environ.get(variable):
            try:
                key = str(field.validation_alias or field_name)
                values[key] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(
                    f"{variable} names {path}, which cannot be read: {error}."
                ) from error
    return values


def _sentences(error: ValidationError) -> list[str]:
    sentences = []
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            sentences.append(message)
            continue
        location = str(problem["loc"][0])
        name = environment_name(location) if location in Settings.model_fields else location
        if problem["type"] != "value_error":
            message = message[0].lower() + message[1:] + "."
        shown = _shown(location, problem["input"])
        sentences.append(f"{name} is set to {shown}, which cannot be used: {message}")
    return sentences


def _shown(field_name: str, value: object) -> str:
    field = Settings.model_fields.get(field_name)
    is_secret = field is not None and field.annotation is SecretStr
    return "something secret" if is_secret else f"“{masked(str(value))}”"


@cache
def get_settings() -> Settings:
    """Return the settings of this process, read once."""
    return load_settings()
