"""C libraries that stand before the system's own in a process: its clock, its network."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) {
    const char *seconds = getenv("CLOCK_SHIFT");
    return seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += shift();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *kept) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (kept) *kept = precise.tv_sec;
    return precise.tv_sec;
}
"""
"""The wall clock of the process, CLOCK_SHIFT seconds off; it may change while the process runs."""

NETWORK = """
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int refuse(const char *call) {
    int notes = open(getenv("NETWORK_NOTES"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (write(notes, call, strlen(call)) < 0 || close(notes)) abort();
    errno = ENETUNREACH;
    return -1;
}

int connect(int descriptor, const struct sockaddr *to, socklen_t length) {
    return refuse("connect\\n");
}

ssize_t sendto(int descriptor, const void *data, size_t size, int flags,
               const struct sockaddr *to, socklen_t length) { return refuse("sendto\\n"); }

int getaddrinfo(const char *host, const char *service, const void *hints, void *found) {
    refuse("getaddrinfo\\n");
    return -2;
}
"""
"""No way out, for Python and for native code; each try is a line of the file NETWORK_NOTES."""


def preloaded(source: str, folder: Path) -> dict[str, str]:
    """The environment of a process that has this library; skips where it cannot be compiled."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    code, library = folder / "preloaded.c", folder / "preloaded.so"
    code.write_text(source, encoding="utf-8")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, code, "-ldl"], check=True, timeout=120
    )
    root = Path(__file__).resolve().parents[2]
    return {
        **os.environ,
        "LD_PRELOAD": str(library),
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "cli")]),
    }
