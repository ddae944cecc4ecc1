"""Memory that a training frees is taken again without the system's help, and given back in the end."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks of glibc")

FLOATS = 12 * 2**20  # 48 MB: more than glibc ever keeps by itself
# In a process of its own: what earlier tests left in the heap would serve the first steps.
SCRIPT = f"""
import json, os, resource
import torch
from headstart.training.finetuning.memory import memory_reused

def faults_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(12):
        torch.ones({FLOATS})
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

plain, before = faults_of_a_step(), resident()
with memory_reused():
    for _ in range(4):  # until the free blocks have come to fit
        faults_of_a_step()
    reused, held = faults_of_a_step(), resident()
print(json.dumps([plain, reused, held - before, resident() - before]))
"""


def test_a_step_takes_the_memory_of_the_last_one_and_gives_it_back_in_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=120)
    plain, reused, held, left = json.loads(done.stdout)
    assert reused < plain / 4
    assert held > 4 * FLOATS * 0.9
    assert left < 4 * FLOATS / 2
