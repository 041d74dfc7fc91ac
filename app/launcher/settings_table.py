"""The one table of settings, from the code that reads them."""

from pydantic import SecretStr

from app.addresses import masked
from app.settings import Settings, environment_name

_INTRODUCTION = """# Settings

All settings come from the environment; each has a default that works on one machine. A wrong value
is refused at start with a sentence. For a secret, `NAME_FILE` may name a file that holds the value.

*Written by `make settings-docs` from `app/settings.py`; a test holds both together.*

| Variable | Default | What it is |
| --- | --- | --- |
"""


def _default(name: str) -> str:
    value = Settings.model_fields[name].default
    if isinstance(value, SecretStr) or value in ("", None, ()):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_markdown() -> str:
    """Return docs/settings.md."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = _default(name)
        cell = f"`{default}`" if default else "–"
        rows.append(f"| `{environment_name(name)}` | {cell} | {field.description} |")
    return _INTRODUCTION + "\n".join(rows)


def as_text(settings: Settings) -> str:
    """Return every setting with its present value; secrets are only said to be set or not."""
    lines = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = "(set)" if value.get_secret_value() else "(not set)"
        elif isinstance(value, str):
            value = masked(value)
        lines.append(f"{environment_name(name)} = {value}\n    {field.description}")
    return "\n".join(lines)
