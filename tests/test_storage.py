"""No key leads out of the data folder, whatever it is made of."""

from pathlib import Path

import pytest

from app.storage.folders import Storage

HOSTILE = (
    ("..",),
    ("runs", ".."),
    ("runs", "../../outside"),
    ("runs", "..", "..", "outside"),
    ("/etc/passwd",),
    ("runs", "/etc/passwd"),
    ("runs", "%2e%2e"),
    ("runs", "..%2f"),
    ("runs", "a\0b"),
    ("runs", "a/b"),
    ("runs", "a\nb"),
    ("runs", ""),
    ("runs", "."),
    ("runs", "x" * 300),
)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "safe")
    storage.prepare()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "sentinel").write_text("still here")
    (tmp_path / "safe_evil").mkdir()
    (tmp_path / "safe_evil" / "sentinel").write_text("still here")
    return storage


@pytest.mark.parametrize("key", HOSTILE)
def test_a_hostile_key_is_refused_before_anything_is_touched(
    storage: Storage, tmp_path: Path, key: tuple[str, ...]
) -> None:
    for deed in (storage.path, storage.folder, storage.remove):
        with pytest.raises(ValueError, match=r".+"):
            deed(*key)
    assert (tmp_path / "outside" / "sentinel").read_text() == "still here"


def test_a_link_does_not_lead_out_either(storage: Storage, tmp_path: Path) -> None:
    for name, target in (("out", tmp_path / "outside"), ("near", tmp_path / "safe_evil")):
        (storage.root / "runs" / name).symlink_to(target)
        for key in (("runs", name), ("runs", name, "sentinel")):
            with pytest.raises(ValueError, match="leaves the storage root"):
                storage.path(*key)
            with pytest.raises(ValueError, match="leaves the storage root"):
                storage.remove(*key)
        assert (target / "sentinel").read_text() == "still here"


def test_links_inside_what_is_removed_are_not_followed(storage: Storage, tmp_path: Path) -> None:
    folder = storage.folder("runs", "one")
    (folder / "link").symlink_to(tmp_path / "outside")
    storage.remove("runs", "one")
    assert not folder.exists()
    assert (tmp_path / "outside" / "sentinel").read_text() == "still here"


def test_top_folders_and_the_root_cannot_be_removed(storage: Storage) -> None:
    for key in ((), ("runs",)):
        with pytest.raises(ValueError, match="inside a top folder"):
            storage.remove(*key)
    assert (storage.root / "runs").is_dir()
