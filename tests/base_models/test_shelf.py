"""The shelf is a file that the host may edit."""

from pathlib import Path

import pytest

from app.base_models.safety import UnsafeModelError, check_configuration
from app.base_models.shelf import BUILT_IN_SHELF, read_shelf
from app.settings import SettingsError

ENTRY = """
[[model]]
slug = "ours"
name = "Ours"
hub_id = "maker/ours"
parameters = 1_000
size_bytes = 4_000
licence = "MIT"
languages = "English"
context_length = 512
memory = "None to speak of."
summary = "Ours."
"""


def test_the_built_in_shelf() -> None:
    shelf = read_shelf(BUILT_IN_SHELF)
    assert 10 <= len(shelf) <= 15
    assert len({entry.slug for entry in shelf}) == len(shelf)
    assert [entry.size_bytes for entry in shelf] == sorted(entry.size_bytes for entry in shelf)
    assert all(100e6 < entry.parameters < 9e9 for entry in shelf)


def test_a_shelf_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "shelf.toml"
    path.write_text(ENTRY)
    assert [entry.name for entry in read_shelf(path)] == ["Ours"]


@pytest.mark.parametrize(
    "text",
    [
        "[[model",
        ENTRY.replace("maker/ours", "../etc"),
        ENTRY.replace("4_000", "-1"),
        ENTRY + 'colour = "red"',
        ENTRY + ENTRY,
    ],
)
def test_a_mistake_is_said_with_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "shelf.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=str(path)):
        read_shelf(path)


@pytest.mark.parametrize(
    "harmless",
    [
        {"_sliding_window_pattern": 6},
        {"_name_or_path": "maker/model"},
        {"_attn_implementation_autoset": True, "attn_implementation": "sdpa"},
        {"_num_labels": 1, "auto_map": {}},
        {"time_step_limit": [0.0, {"__float__": "Infinity"}]},
    ],
)
def test_what_real_models_carry_is_let_through(harmless: dict[str, object]) -> None:
    check_configuration("config.json", harmless)


@pytest.mark.parametrize(
    "key",
    [
        "auto_map",
        "_attn_implementation_internal",
        "_attn_implementation",
        "_experts_implementation_internal",
        "experts_implementation",
        "_kernel_repo",
        "__float__",
        "custom_generate",
    ],
)
def test_what_leads_to_code_is_refused_however_deep(key: str) -> None:
    nested: object = {key: "maker/evil"}
    for _ in range(500):
        nested = [{"inner": nested}]
    with pytest.raises(UnsafeModelError, match=key):
        check_configuration("config.json", {"text_config": nested})
