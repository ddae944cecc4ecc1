"""Memory that a training frees is taken again without the system's help, and given back in the end."""

from __future__ import annotations

import os
import platform

import pytest
import torch

from headstart.training.finetuning.memory import memory_reused

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks of glibc")

FLOATS = 12 * 2**20  # 48 MB: more than glibc ever keeps by itself


def _faults_of_a_step() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(12):
        torch.ones(FLOATS)
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_step_takes_the_memory_of_the_last_one_and_gives_it_back_in_the_end() -> None:
    plain = _faults_of_a_step()
    before = _resident()
    with memory_reused():
        for _ in range(4):  # until the free blocks have come to fit
            _faults_of_a_step()
        reused = _faults_of_a_step()
        held = _resident()
    assert reused < plain / 4
    assert held > before + 4 * FLOATS * 0.9
    assert _resident() < before + 4 * FLOATS / 2
