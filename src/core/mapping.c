/*
 * A model's file in memory: warmed before it is mapped, its pages given back once llama.cpp has copied what it repacks.
 *
 * llama.cpp does not say where it maps a file, so the addresses are those that the kernel lists for the file's name. A range that
 * is given back wrongly would cost time only: the pages are clean, and come back from the page cache.
 */
#define _DEFAULT_SOURCE /* madvise() */
#include "core/mapping.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Small enough that progress is shown and Ctrl-C heeded several times a second on a slow disk. */
#define CHUNK_BYTES ((size_t)4 << 20)

static bool read_all(int fd, off_t size, char *chunk, cs_mapping_progress_fn progress, void *user)
{
    off_t n_done = 0;
    while (n_done < size) {
        if (progress != NULL && !progress((float)n_done / (float)size, user)) {
            return false;
        }
        const ssize_t n = pread(fd, chunk, CHUNK_BYTES, n_done);
        if (n <= 0) {
            return true;
        }
        n_done += n;
    }
    return true;
}

bool cs_mapping_warm(const char *path, cs_mapping_progress_fn progress, void *user)
{
    struct stat status;
    bool goes_on = true;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *chunk = malloc(CHUNK_BYTES);
    if (fd >= 0 && chunk != NULL && fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
        goes_on = read_all(fd, status.st_size, chunk, progress, user);
    }
    free(chunk);
    if (fd >= 0) {
        (void)close(fd);
    }
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

void cs_mapping_release(const char *path)
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
void cs_mapping_release(const char *path)
{
    (void)path;
}
#endif
