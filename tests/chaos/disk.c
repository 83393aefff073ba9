/* A disk that forgets, for LD_PRELOAD: beside each file under $CHAOS_DISK it keeps FILE.durable, what a power cut
 * would leave: its content at the last fsync or fdatasync. While $CHAOS_DISK/full is there, the disk takes no more:
 * writes and what makes files longer end with ENOSPC, as on a full file system.
 *
 * Names of files are durable at once, and shared memory (-shm) never is. One thread writes a file at a time, as SQLite does.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS 4096
#define RANGES 8192
#define SYNC_US 5000 /* what a sync takes: a power cut is to find some under way */
#define KNOWN 1
#define OURS 2

typedef struct { off_t at, end; } range;
typedef struct { dev_t dev; ino_t ino; int count, whole; range ranges[RANGES]; } file; /* unsynced */

static unsigned char seen[FDS]; /* KNOWN: looked at; OURS: on the disk that forgets */
static char paths[FDS][512];
static file *files[64];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *disk;
static char full[512];

#define REAL(name) ((__typeof__(&name))real_##name())
#define FIND(name) \
    static void *real_##name(void) { static void *f; if (!f) f = dlsym(RTLD_NEXT, #name); return f; }
FIND(write) FIND(pwrite) FIND(pwrite64) FIND(ftruncate) FIND(ftruncate64) FIND(fsync) FIND(fdatasync)
FIND(close) FIND(unlink) FIND(fallocate) FIND(posix_fallocate)

static int ours(int fd) {
    if (fd < 3 || fd >= FDS) return 0;
    if (!(seen[fd] & KNOWN)) {
        char link[64], path[512];
        struct stat st;
        seen[fd] = KNOWN;
        if (!disk && (disk = getenv("CHAOS_DISK"))) snprintf(full, sizeof full, "%s/full", disk);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        if (disk && n > 0) {
            path[n] = 0;
            size_t length = strlen(disk);
            const char *dot = strrchr(path, '.');
            int skip = dot && (!strcmp(dot, ".lock") || !strcmp(dot, ".durable") || strstr(dot, "-shm"));
            if (!strncmp(path, disk, length) && path[length] == '/' && !skip && !fstat(fd, &st) && S_ISREG(st.st_mode)) {
                memcpy(paths[fd], path, n + 1);
                seen[fd] |= OURS;
            }
        }
    }
    return seen[fd] & OURS;
}

static file *file_of(int fd) {
    struct stat st;
    int i;
    if (fstat(fd, &st)) return NULL;
    for (i = 0; i < 64 && files[i]; i++)
        if (files[i]->dev == st.st_dev && files[i]->ino == st.st_ino) return files[i];
    if (i == 64) abort();
    files[i] = calloc(1, sizeof(file));
    files[i]->dev = st.st_dev;
    files[i]->ino = st.st_ino;
    files[i]->whole = 1; /* what it held before we came has to be copied once */
    return files[i];
}

static void changed(int fd, off_t at, size_t size) {
    int kept = errno;
    pthread_mutex_lock(&lock);
    file *f = file_of(fd);
    if (f && !f->whole) {
        range *last = f->count ? &f->ranges[f->count - 1] : NULL;
        if (last && last->end == at) last->end = at + size;
        else if (f->count < RANGES) f->ranges[f->count++] = (range){at, at + size};
        else f->whole = 1;
    }
    pthread_mutex_unlock(&lock);
    errno = kept;
}

static void copy(int from, int to, off_t at, off_t end) {
    char block[65536];
    while (at < end) {
        ssize_t n = pread(from, block, end - at < (off_t)sizeof block ? (size_t)(end - at) : sizeof block, at);
        if (n <= 0) return;
        REAL(pwrite)(to, block, n, at);
        at += n;
    }
}

static void keep(int fd) {
    char name[600];
    struct stat st;
    int kept = errno;
    usleep(SYNC_US);
    pthread_mutex_lock(&lock);
    file *f = file_of(fd);
    snprintf(name, sizeof name, "%s.durable", paths[fd]);
    int to = open(name, O_RDWR | O_CREAT, 0644);
    if (to >= 0 && f && !fstat(fd, &st)) { /* through fd itself: to close another would end SQLite's locks */
        if (f->whole) copy(fd, to, 0, st.st_size);
        for (int i = 0; i < f->count; i++) copy(fd, to, f->ranges[i].at, f->ranges[i].end);
        REAL(ftruncate)(to, st.st_size);
        f->whole = f->count = 0;
    }
    if (to >= 0) REAL(close)(to);
    pthread_mutex_unlock(&lock);
    errno = kept;
}

static int is_full(int fd) {
    if (!ours(fd) || access(full, F_OK)) return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t write(int fd, const void *data, size_t size) {
    if (!ours(fd)) return REAL(write)(fd, data, size);
    if (is_full(fd)) return -1;
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t n = REAL(write)(fd, data, size);
    if (n > 0) changed(fd, at, n);
    return n;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    if (is_full(fd)) return -1;
    ssize_t n = REAL(pwrite)(fd, data, size, at);
    if (n > 0 && ours(fd)) changed(fd, at, n);
    return n;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    if (is_full(fd)) return -1;
    ssize_t n = REAL(pwrite64)(fd, data, size, at);
    if (n > 0 && ours(fd)) changed(fd, at, n);
    return n;
}

int ftruncate(int fd, off_t size) { return REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { return REAL(ftruncate64)(fd, size); }

int fallocate(int fd, int mode, off_t at, off_t size) {
    return is_full(fd) ? -1 : REAL(fallocate)(fd, mode, at, size);
}

int posix_fallocate(int fd, off_t at, off_t size) {
    return is_full(fd) ? ENOSPC : REAL(posix_fallocate)(fd, at, size);
}

/* The true disk need not be bothered: what we call durable is in FILE.durable. */
int fsync(int fd) {
    if (!ours(fd)) return REAL(fsync)(fd);
    keep(fd);
    return 0;
}

int fdatasync(int fd) {
    if (!ours(fd)) return REAL(fdatasync)(fd);
    keep(fd);
    return 0;
}

int close(int fd) {
    if (fd >= 0 && fd < FDS) seen[fd] = 0;
    return REAL(close)(fd);
}

int unlink(const char *path) {
    if (disk && !strncmp(path, disk, strlen(disk))) {
        char name[600];
        snprintf(name, sizeof name, "%s.durable", path);
        REAL(unlink)(name);
    }
    return REAL(unlink)(path);
}
