/*
 * A model's files in memory: warmed before they are mapped, their pages given back once llama.cpp has copied what it repacks.
 *
 * llama.cpp does not say where it maps a file, so the addresses are those that the kernel lists for the file's name. A range that
 * is given back wrongly would cost time only: the pages are clean, and come back from the page cache.
 */
#define _DEFAULT_SOURCE /* madvise() */
#include "core/mapping.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Small enough that progress is shown and Ctrl-C heeded several times a second on a slow disk. */
#define CHUNK_BYTES ((size_t)4 << 20)

bool cs_mapping_file(const char *first, uint32_t index, uint32_t n_files, char *out, size_t size)
{
    char end[32] = "";
    if (n_files > 1) {
        (void)snprintf(end, sizeof end, "-00001-of-%05u.gguf", n_files);
    }
    const size_t n_first = strlen(first);
    const size_t n_end = strlen(end);
    if (n_first < n_end || strcmp(first + n_first - n_end, end) != 0) {
        return false;
    }
    if (n_files > 1) {
        (void)snprintf(end, sizeof end, "-%05u-of-%05u.gguf", index + 1, n_files);
    }
    const int n = snprintf(out, size, "%.*s%s", (int)(n_first - n_end), first, end);
    return n > 0 && (size_t)n < size;
}

/* Of n_files files, which count alike: parts of a model are of much the same size. */
typedef struct warming {
    cs_mapping_progress_fn progress;
    void *user;
    uint32_t index;
    uint32_t n_files;
    char *chunk; /* [CHUNK_BYTES] */
} warming;

static bool read_all(int fd, off_t size, const warming *w)
{
    off_t n_done = 0;
    while (n_done < size) {
        const float share = ((float)w->index + (float)n_done / (float)size) / (float)w->n_files;
        if (w->progress != NULL && !w->progress(share, w->user)) {
            return false;
        }
        const ssize_t n = pread(fd, w->chunk, CHUNK_BYTES, n_done);
        if (n <= 0) {
            return true;
        }
        n_done += n;
    }
    return true;
}

static bool warm(const char *path, const warming *w)
{
    struct stat status;
    bool goes_on = true;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
        goes_on = read_all(fd, status.st_size, w);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return goes_on;
}

bool cs_mapping_warm(const char *first, uint32_t n_files, cs_mapping_progress_fn progress, void *user)
{
    warming w = {.progress = progress, .user = user, .n_files = n_files, .chunk = malloc(CHUNK_BYTES)};
    bool goes_on = true;
    char path[PATH_MAX];
    for (; w.chunk != NULL && goes_on && w.index < n_files; w.index++) {
        goes_on = !cs_mapping_file(first, w.index, n_files, path, sizeof path) || warm(path, &w);
    }
    free(w.chunk);
    return goes_on;
}

#ifdef __linux__
/* "begin-end perms offset device inode   path", proc_pid_maps(5). */
static void release_line(const char *line, const char *path)
{
    const char *file = strchr(line, '/'); /* no field before it has one */
    char *after;
    const uintmax_t begin = strtoumax(line, &after, 16);
    const uintmax_t end = *after == '-' ? strtoumax(after + 1, &after, 16) : 0;
    if (begin < end && file != NULL && strcmp(file, path) == 0) {
        void *address = (void *)(uintptr_t)begin; /* NOLINT(performance-no-int-to-ptr): the kernel's text */
        (void)madvise(address, (size_t)(end - begin), MADV_DONTNEED);
    }
}

static void release(const char *path)
{
    char *real = realpath(path, NULL);
    FILE *maps = real != NULL ? fopen("/proc/self/maps", "re") : NULL;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    while (maps != NULL && (n = getline(&line, &capacity, maps)) > 0) {
        line[n - 1] = '\0'; /* the line's end */
        release_line(line, real);
    }
    free(line);
    if (maps != NULL) {
        (void)fclose(maps);
    }
    free(real);
}
#else
static void release(const char *path)
{
    (void)path;
}
#endif

void cs_mapping_release(const char *first, uint32_t n_files)
{
    char path[PATH_MAX];
    for (uint32_t i = 0; i < n_files; i++) {
        if (cs_mapping_file(first, i, n_files, path, sizeof path)) {
            release(path);
        }
    }
}
