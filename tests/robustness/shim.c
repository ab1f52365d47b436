/* Counts what a process does to files below a folder, and at one of those events kills, stops or fails it.
   Loaded before the C library (LD_PRELOAD), so that native writers are seen like Python's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, STOP, FULL, FAULT };

static char prefix[PATH_MAX];
static long target = -1, events = 0;
static int mode = COUNT, armed = 0;

void attack_arm(const char *folder, long number, int how) {
    snprintf(prefix, sizeof prefix, "%s", folder);
    target = number, mode = how, events = 0, armed = 1;
}
long attack_events(void) { return events; }
void attack_disarm(void) { armed = 0; }

/* An error number where the event is to fail, else 0. `grows`: whether a full disk would refuse it. */
static int event(const char *path, int grows) {
    if (!armed || !path || strncmp(path, prefix, strlen(prefix))) return 0;
    long number = __sync_add_and_fetch(&events, 1);
    if (mode == FULL) return number >= target && grows ? ENOSPC : 0;
    if (number != target) return 0;
    if (mode == KILL) kill(getpid(), SIGKILL);
    if (mode == STOP) kill(getpid(), SIGSTOP);
    return mode == FAULT ? EIO : 0;
}

static const char *of_fd(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, buffer, PATH_MAX - 1);
    if (size < 0) return 0;
    buffer[size] = 0;
    return buffer;
}

static const char *at(int folder, const char *path, char *buffer) {
    if (!path || path[0] == '/') return path;
    char base[PATH_MAX];
    if (folder == AT_FDCWD ? !getcwd(base, sizeof base) : !of_fd(folder, base)) return 0;
    if (snprintf(buffer, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    return buffer;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAIL(path, grows, value) do { int failed_ = armed ? event(path, grows) : 0; if (failed_) { errno = failed_; return value; } } while (0)
#define WRITES(flags) ((flags) & (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC))

#define OPEN(name) int name(const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); mode_t bits = va_arg(more, mode_t); va_end(more); \
    REAL(name); char b[PATH_MAX]; \
    if (WRITES(flags)) FAIL(at(AT_FDCWD, path, b), !!(flags & O_CREAT), -1); \
    return real(path, flags, bits); }
OPEN(open) OPEN(open64)
#define OPENAT(name) int name(int folder, const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); mode_t bits = va_arg(more, mode_t); va_end(more); \
    REAL(name); char b[PATH_MAX]; \
    if (WRITES(flags)) FAIL(at(folder, path, b), !!(flags & O_CREAT), -1); \
    return real(folder, path, flags, bits); }
OPENAT(openat) OPENAT(openat64)
#define FOPEN(name) FILE *name(const char *path, const char *how) { \
    REAL(name); char b[PATH_MAX]; \
    if (strpbrk(how, "wa+")) FAIL(at(AT_FDCWD, path, b), 1, 0); \
    return real(path, how); }
FOPEN(fopen) FOPEN(fopen64)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write); char b[PATH_MAX];
    if (armed && fd > 2) FAIL(of_fd(fd, b), 1, -1);
    return real(fd, data, size);
}
#define PWRITE(name, offset_t) ssize_t name(int fd, const void *data, size_t size, offset_t offset) { \
    REAL(name); char b[PATH_MAX]; if (armed) FAIL(of_fd(fd, b), 1, -1); return real(fd, data, size, offset); }
PWRITE(pwrite, off_t) PWRITE(pwrite64, off64_t)
ssize_t writev(int fd, const struct iovec *parts, int number) {
    REAL(writev); char b[PATH_MAX]; if (armed && fd > 2) FAIL(of_fd(fd, b), 1, -1); return real(fd, parts, number);
}
#define TRUNCATE(name, offset_t) int name(int fd, offset_t size) { \
    REAL(name); char b[PATH_MAX]; if (armed) FAIL(of_fd(fd, b), 1, -1); return real(fd, size); }
TRUNCATE(ftruncate, off_t) TRUNCATE(ftruncate64, off64_t)
int fsync(int fd) { REAL(fsync); char b[PATH_MAX]; if (armed) FAIL(of_fd(fd, b), 0, -1); return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); char b[PATH_MAX]; if (armed) FAIL(of_fd(fd, b), 0, -1); return real(fd); }

#define PATHS(name, extra, pass, grows) int name(const char *path extra) { \
    REAL(name); char b[PATH_MAX]; if (armed) FAIL(at(AT_FDCWD, path, b), grows, -1); return real(path pass); }
#define COMMA ,
PATHS(unlink, , , 0)
PATHS(rmdir, , , 0)
PATHS(remove, , , 0)
PATHS(mkdir, COMMA mode_t bits, COMMA bits, 1)
int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat); char b[PATH_MAX]; if (armed) FAIL(at(folder, path, b), 0, -1); return real(folder, path, flags);
}
int mkdirat(int folder, const char *path, mode_t bits) {
    REAL(mkdirat); char b[PATH_MAX]; if (armed) FAIL(at(folder, path, b), 1, -1); return real(folder, path, bits);
}
#define TWO(name) int name(const char *one, const char *two) { \
    REAL(name); char b[PATH_MAX]; if (armed) FAIL(at(AT_FDCWD, two, b), 0, -1); return real(one, two); }
TWO(rename) TWO(link) TWO(symlink)
int renameat(int f, const char *one, int g, const char *two) {
    REAL(renameat); char b[PATH_MAX]; if (armed) FAIL(at(g, two, b), 0, -1); return real(f, one, g, two);
}
int renameat2(int f, const char *one, int g, const char *two, unsigned flags) {
    REAL(renameat2); char b[PATH_MAX]; if (armed) FAIL(at(g, two, b), 0, -1); return real(f, one, g, two, flags);
}
long syscall(long number, ...) {
    va_list more; va_start(more, number);
    long a = va_arg(more, long), c = va_arg(more, long), d = va_arg(more, long), e = va_arg(more, long),
         f = va_arg(more, long), g = va_arg(more, long);
    va_end(more);
    REAL(syscall); char b[PATH_MAX];
    if (armed && number == SYS_renameat2) FAIL(at((int)d, (const char *)e, b), 0, -1);
    return real(number, a, c, d, e, f, g);
}
