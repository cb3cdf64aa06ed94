"""The disk fails under a live keeper, at the system call: nothing is sent, it ends, and a restart finds its way.

A library between the keeper and the C library answers for the files of the journal as a broken disk does, for as long
as a file says so.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from keeper.tx.reading import reader
from tests.faults.test_rpc_daemon import settle
from tests.faults.wishes import assert_once, wishes
from tests.worlds.market import Scene, crash
from tests.worlds.process import Process

pytestmark = [pytest.mark.chain, pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler here")]

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* "fsync 5" in the file that FAULTY_DISK names: every fsync of a journal fails with that errno. */
static int fault(int fd, const char *what) {
    const char *script = getenv("FAULTY_DISK");
    char name[64], path[4096], text[64] = {0}, wanted[16];
    int number = 0;
    if (!script) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, ".live.db")) return 0;
    int file = syscall(SYS_openat, AT_FDCWD, script, O_RDONLY);
    if (file < 0) return 0;
    ssize_t got = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    if (got <= 0 || sscanf(text, "%15s %d", wanted, &number) != 2) return 0;
    return strcmp(wanted, what) ? 0 : number;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define FAIL(fd, what) { int e = fault(fd, what); if (e) { errno = e; return -1; } }

int fsync(int fd) { REAL(fsync); FAIL(fd, "fsync") return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); FAIL(fd, "fsync") return real(fd); }
ssize_t write(int fd, const void *b, size_t n) { REAL(write); FAIL(fd, "write") return real(fd, b, n); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { REAL(pwrite); FAIL(fd, "write") return real(fd, b, n, o); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) {
    REAL(pwrite64); FAIL(fd, "write") return real(fd, b, n, o);
}
"""

EIO, ENOSPC, EROFS = 5, 28, 30


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shim")
    (folder / "disk.c").write_text(SHIM)
    made = folder / "disk.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", made, folder / "disk.c", "-ldl"], check=True)
    return made


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with crash(tmp_path, 50) as scene:
        yield scene


def run(scene: Scene) -> Process:
    plain = ("record.enabled=false", "chains.local.confirmations=2")
    return Process("run", "-c", scene.config, "--live", *(f"--set={one}" for one in plain))


def sent(keeper: Process) -> set[str]:
    return {line["hash"] for line in keeper.events if line["event"] == "tx.answer"}


@pytest.mark.fault("C16", "C17", "C18", "C19")
async def test_a_disk_that_fails_at_a_commit_ends_it_with_nothing_sent_and_a_restart_recovers(
    scene: Scene, shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, journal = tmp_path / "fault", tmp_path / "state" / "local.live.db"
    monkeypatch.setenv("FAULTY_DISK", str(script))
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    for what, number in (("fsync", EIO), ("write", ENOSPC), ("write", EROFS)):
        async with run(scene) as keeper:
            while (await keeper.heard("turn.done", "keeper.recovering"))["event"] != "turn.done":
                scene.step()  # a commit whose sync failed may be there after all, and is sent now
            before = sent(keeper)
            script.write_text(f"{what} {number}")
            with pytest.raises(AssertionError, match="ended without"):
                for _ in range(12):
                    await keeper.heard("turn.done", block=scene.step().number)
            assert await keeper.ended() == 1
        assert "local.live.db failed" in keeper.said
        assert sent(keeper) == before  # what it was about to sign never left
        assert int(scene.node.rpc("txpool_status")["pending"], 16) == 0
        assert "reconcile it with the chain" in keeper.said  # and what to do about it
        script.unlink()  # freed, or mounted anew
    script.write_text(f"fsync {EIO}")
    async with run(scene) as still:  # nor does it start on such a disk
        assert await still.ended() == 1
    script.unlink()
    monkeypatch.delenv("LD_PRELOAD")
    await settle(scene)
    with reader(journal) as whole:
        assert whole.ls(everything=True)
    assert_once(wishes(scene, journal))
