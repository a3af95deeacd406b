/* Preloaded: counts the calls that change a file system under one folder, and kills at one of them.
 *
 * fault_arm(folder, call, after) begins: SIGKILL comes before call number `call`, or right after it
 * where `after` is set; 0 only counts. The count lies in memory that forked processes share, so
 * that the parent can read it of a child that is dead. A write is a call as well: of a long file
 * any part may be there. What a library does by system calls of its own, without libc, is not seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct shared {
    long count;
    char killed[32];
};

static struct shared *shared;
static char folder[PATH_MAX];
static size_t folder_length;
static long kill_at;
static int kill_after, armed;

__attribute__((constructor)) static void begin(void) {
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

void fault_arm(const char *under, long call, int after) {
    snprintf(folder, sizeof folder, "%s", under);
    folder_length = strlen(folder);
    kill_at = call;
    kill_after = after;
    memset(shared, 0, sizeof *shared);
    armed = 1;
}

void fault_disarm(void) { armed = 0; }
long fault_count(void) { return shared->count; }
const char *fault_killed(void) { return shared->killed; }

static int inside(const char *path) {
    return !strncmp(path, folder, folder_length) &&
           (path[folder_length] == '/' || path[folder_length] == 0);
}

static int fd_counts(int fd) {
    char name[64], path[PATH_MAX];
    if (!armed) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return inside(path);
}

static int path_counts(int at, const char *path) {
    char base[PATH_MAX], whole[2 * PATH_MAX + 2], name[64];
    if (!armed || !path) return 0;
    if (path[0] == '/') return inside(path);
    snprintf(name, sizeof name, "/proc/self/fd/%d", at);
    ssize_t length = readlink(at == AT_FDCWD ? "/proc/self/cwd" : name, base, sizeof base - 1);
    if (length <= 0) return 0;
    base[length] = 0;
    snprintf(whole, sizeof whole, "%s/%s", base, path);
    return inside(whole);
}

static void die(const char *kind) {
    snprintf(shared->killed, sizeof shared->killed, "%s", kind);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static long enter(const char *kind, int counts) {
    if (!counts) return 0;
    long number = __atomic_add_fetch(&shared->count, 1, __ATOMIC_SEQ_CST);
    if (number == kill_at && !kill_after) die(kind);
    return number;
}

static void leave(const char *kind, long number) {
    if (number && number == kill_at && kill_after) die(kind);
}

#define REAL(name) ({ static __typeof__(&name) f; if (!f) f = dlsym(RTLD_NEXT, #name); f; })

#define WRAP(type, name, parameters, arguments, counts)                                            \
    type name parameters {                                                                         \
        long number = enter(#name, counts);                                                        \
        type result = REAL(name) arguments;                                                        \
        leave(#name, number);                                                                      \
        return result;                                                                             \
    }

#define WRAP_OPEN(name, parameters, arguments, at)                                                 \
    int name parameters {                                                                          \
        mode_t mode = 0;                                                                           \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                       \
            va_list rest;                                                                          \
            va_start(rest, flags);                                                                 \
            mode = va_arg(rest, mode_t);                                                           \
            va_end(rest);                                                                          \
        }                                                                                          \
        long number = enter(#name, (flags & (O_CREAT | O_TRUNC)) && path_counts(at, path));        \
        int result = REAL(name) arguments;                                                         \
        leave(#name, number);                                                                      \
        return result;                                                                             \
    }

WRAP_OPEN(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
WRAP_OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
WRAP_OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode), at)
WRAP_OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode), at)
WRAP(int, creat, (const char *path, mode_t mode), (path, mode), path_counts(AT_FDCWD, path))
WRAP(int, creat64, (const char *path, mode_t mode), (path, mode), path_counts(AT_FDCWD, path))
WRAP(FILE *, fopen, (const char *path, const char *how), (path, how),
     how[0] != 'r' && path_counts(AT_FDCWD, path))
WRAP(FILE *, fopen64, (const char *path, const char *how), (path, how),
     how[0] != 'r' && path_counts(AT_FDCWD, path))

WRAP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), fd_counts(fd))
WRAP(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t to), (fd, data, size, to),
     fd_counts(fd))
WRAP(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t to), (fd, data, size, to),
     fd_counts(fd))
WRAP(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count),
     fd_counts(fd))
WRAP(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t to),
     (fd, parts, count, to), fd_counts(fd))
WRAP(ssize_t, copy_file_range,
     (int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags),
     (in, from, out, to, size, flags), fd_counts(out))
WRAP(ssize_t, sendfile, (int out, int in, off_t *from, size_t size), (out, in, from, size),
     fd_counts(out))
WRAP(ssize_t, sendfile64, (int out, int in, off64_t *from, size_t size), (out, in, from, size),
     fd_counts(out))

WRAP(int, fsync, (int fd), (fd), fd_counts(fd))
WRAP(int, fdatasync, (int fd), (fd), fd_counts(fd))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size), fd_counts(fd))
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size), fd_counts(fd))
WRAP(int, truncate, (const char *path, off_t size), (path, size), path_counts(AT_FDCWD, path))
WRAP(int, fallocate, (int fd, int mode, off_t from, off_t size), (fd, mode, from, size),
     fd_counts(fd))

WRAP(int, rename, (const char *from, const char *to), (from, to),
     path_counts(AT_FDCWD, from) || path_counts(AT_FDCWD, to))
WRAP(int, renameat, (int at, const char *from, int onto, const char *to), (at, from, onto, to),
     path_counts(at, from) || path_counts(onto, to))
WRAP(int, renameat2, (int at, const char *from, int onto, const char *to, unsigned flags),
     (at, from, onto, to, flags), path_counts(at, from) || path_counts(onto, to))
WRAP(int, link, (const char *from, const char *to), (from, to), path_counts(AT_FDCWD, to))
WRAP(int, linkat, (int at, const char *from, int onto, const char *to, int flags),
     (at, from, onto, to, flags), path_counts(onto, to))
WRAP(int, symlink, (const char *from, const char *to), (from, to), path_counts(AT_FDCWD, to))
WRAP(int, symlinkat, (const char *from, int onto, const char *to), (from, onto, to),
     path_counts(onto, to))
WRAP(int, unlink, (const char *path), (path), path_counts(AT_FDCWD, path))
WRAP(int, unlinkat, (int at, const char *path, int flags), (at, path, flags),
     path_counts(at, path))
WRAP(int, remove, (const char *path), (path), path_counts(AT_FDCWD, path))
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), path_counts(AT_FDCWD, path))
WRAP(int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode),
     path_counts(at, path))
WRAP(int, rmdir, (const char *path), (path), path_counts(AT_FDCWD, path))

/* Rust's rustix and others rename through syscall(2) by number. */
long syscall(long what, ...) {
    long a[6];
    va_list rest;
    va_start(rest, what);
    for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
    va_end(rest);
    int counts = 0;
    if (armed) switch (what) {
#ifdef SYS_rename
        case SYS_rename:
            counts = path_counts(AT_FDCWD, (char *)a[0]) || path_counts(AT_FDCWD, (char *)a[1]);
            break;
#endif
#ifdef SYS_renameat
        case SYS_renameat:
#endif
        case SYS_renameat2:
            counts = path_counts(a[0], (char *)a[1]) || path_counts(a[2], (char *)a[3]);
            break;
        case SYS_linkat: counts = path_counts(a[2], (char *)a[3]); break;
        case SYS_unlinkat: counts = path_counts(a[0], (char *)a[1]); break;
        case SYS_copy_file_range: counts = fd_counts(a[2]); break;
    }
    long number = enter("syscall", counts);
    long result = REAL(syscall)(what, a[0], a[1], a[2], a[3], a[4], a[5]);
    leave("syscall", number);
    return result;
}
