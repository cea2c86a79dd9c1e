"""Keep a job's accidents inside: it may write only below some folders (Linux's Landlock). Reading is not limited.

A guard against mistakes, not against an attacker: training code is trusted (see ADR 0001). Where the kernel has no
Landlock, nothing is limited.
"""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # system calls, the same on every 64-bit architecture
_PR_SET_NO_NEW_PRIVS = 38
# Write to a file, remove, make files of every kind, move between folders (since ABI 2), truncate (since ABI 3).
_WRITES = 0x2 | sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def version() -> int:
    """Landlock's ABI in this kernel, 0 where there is none."""
    abi = ctypes.CDLL(None).syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(0, int(abi))


def confine(folders: Iterable[Path]) -> None:
    """Let this process, and all that it starts, write only below `folders`. Cannot be taken back."""
    abi = version()
    if not abi:
        return
    access = _WRITES | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0)
    libc = ctypes.CDLL(None, use_errno=True)
    rules = _Ruleset(access)
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(ctypes.sizeof(rules)), 0)
    _check(ruleset)
    for folder in folders:
        if folder.exists():
            parent = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            _check(libc.syscall(_ADD_RULE, ruleset, 1, ctypes.byref(_Beneath(access, parent)), 0))
            os.close(parent)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
