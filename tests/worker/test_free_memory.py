"""Free memory as a container sees it: the limit counts, and cached files do not."""

from pathlib import Path

import psutil
import pytest

from worker import free_memory, kernel_kills
from worker.kernel_kills import KernelKills
from worker.making_room import free_memory_bytes


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "memory.max").write_text("200000000\n", encoding="ascii")
    (tmp_path / "memory.current").write_text("150000000\n", encoding="ascii")
    (tmp_path / "memory.stat").write_text("inactive_file 30000000\nactive_file 1\n")
    monkeypatch.setattr(free_memory, "_CGROUP", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    return tmp_path


@pytest.mark.usefixtures("container")
def test_the_limit_of_the_container_counts_for_a_training_too() -> None:
    assert free_memory_bytes() == 80_000_001


def test_without_a_limit_it_is_what_the_machine_has(container: Path) -> None:
    (container / "memory.max").write_text("max\n", encoding="ascii")
    assert 200_000_000 < free_memory_bytes() <= psutil.virtual_memory().total


def test_the_gpu_that_a_training_would_use_is_asked(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = container / "nvidia-smi"
    program.write_text('#!/bin/sh\ncase "$*" in *--id=2) echo 700;; *) echo 5;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert free_memory_bytes() == 700 * 1024**2


def test_the_group_of_a_service_below_the_root_counts(
    container: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (container / "memory.max").write_text("max\n", encoding="ascii")
    own = container / "system.slice" / "tailor.service"
    own.mkdir(parents=True)
    (own / "memory.max").write_text("100000000\n", encoding="ascii")
    (own / "memory.current").write_text("40000000\n", encoding="ascii")
    groups = tmp_path / "groups"
    groups.write_text("0::/system.slice/tailor.service\n", encoding="ascii")
    monkeypatch.setattr(free_memory, "_OWN_GROUPS", groups)
    assert free_memory_bytes() == 60_000_000


def test_only_a_kill_that_the_kernel_counted_is_taken_for_one_of_its_own(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_kills, "_VMSTAT", container / "no such file")
    assert KernelKills().explain(-9), "where nobody counts, it is the likeliest reason"
    count = container / "memory.events"
    count.write_text("oom 1\noom_kill 1\noom_group_kill 0\n", encoding="ascii")
    kills = KernelKills()
    assert not kills.explain(-9)
    count.write_text("oom 2\noom_kill 2\noom_group_kill 0\n", encoding="ascii")
    assert kills.explain(-9)
    assert not kills.explain(-11)
    assert not kills.explain(0)
