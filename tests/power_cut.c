/* Writes down, in order, what a process does to the files of one folder: what was written, and what was synced.
 * LD_PRELOAD; POWER_CUT_FOLDER says which folder, POWER_CUT_TRACE where to write. tests/power_cut.py reads it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_FDS 4096
static char *names[MOST_FDS];
static int trace = -1;
static const char *folder;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("POWER_CUT_TRACE");
    folder = getenv("POWER_CUT_FOLDER");
    if (path && folder) trace = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND, 0600);
}

static void note(char what, const char *name, int64_t offset, const void *data, uint32_t size) {
    uint16_t length = (uint16_t)strlen(name);
    struct iovec parts[] = {{&what, 1}, {&length, 2}, {&offset, 8}, {&size, 4}, {(void *)name, length},
                            {(void *)data, data ? size : 0}};
    pthread_mutex_lock(&turn);
    if (writev(trace, parts, data ? 6 : 5) < 0) abort();
    pthread_mutex_unlock(&turn);
}

static int watched(const char *path) {
    return trace >= 0 && strncmp(path, folder, strlen(folder)) == 0;
}

static const char *name_of(int fd) {
    return trace >= 0 && fd >= 0 && fd < MOST_FDS ? names[fd] : NULL;
}

static int opened(int fd, const char *path, int flags) {
    if (fd >= 0 && fd < MOST_FDS) {
        free(names[fd]);
        names[fd] = watched(path) ? strdup(path) : NULL;
        if (names[fd] && (flags & O_TRUNC)) note('t', path, 0, NULL, 0);
    }
    return fd;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MODE int mode = 0; if (flags & O_CREAT) { va_list a; va_start(a, flags); mode = va_arg(a, int); va_end(a); }

int open(const char *path, int flags, ...) { MODE return opened(NEXT(open)(path, flags, mode), path, flags); }
int open64(const char *path, int flags, ...) { MODE return opened(NEXT(open64)(path, flags, mode), path, flags); }

int close(int fd) {
    if (name_of(fd)) { free(names[fd]); names[fd] = NULL; }
    return NEXT(close)(fd);
}

ssize_t write(int fd, const void *data, size_t size) {
    off_t at = name_of(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = NEXT(write)(fd, data, size);
    if (done > 0 && name_of(fd)) note('w', names[fd], at, data, (uint32_t)done);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    ssize_t done = NEXT(pwrite64)(fd, data, size, at);
    if (done > 0 && name_of(fd)) note('w', names[fd], at, data, (uint32_t)done);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

int ftruncate64(int fd, off64_t size) {
    int result = NEXT(ftruncate64)(fd, size);
    if (result == 0 && name_of(fd)) note('t', names[fd], size, NULL, 0);
    return result;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int fsync(int fd) {
    int result = NEXT(fsync)(fd);
    if (result == 0 && name_of(fd)) note('s', names[fd], 0, NULL, 0);
    return result;
}

int fdatasync(int fd) {
    int result = NEXT(fdatasync)(fd);
    if (result == 0 && name_of(fd)) note('s', names[fd], 0, NULL, 0);
    return result;
}

int unlink(const char *path) {
    int result = NEXT(unlink)(path);
    if (result == 0 && watched(path)) note('u', path, 0, NULL, 0);
    return result;
}
