/*
 * Reading and writing of whole files over POSIX calls, because stdio hides which write failed and where the rest went.
 *
 * A temporary is made with mkstemp, which gives mode 0600; a file that is not private gets the mode of the one it replaces, or
 * what the umask leaves of 0666. Symbolic links are followed first, so that the link stays and its target is replaced.
 */
/* realpath() is one of X/Open's. */
#define _XOPEN_SOURCE 700

#include "util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* One byte more than the cap is asked for, to see that there is more. */
static int read_all(int fd, size_t max_bytes, cs_file_wait_fn wait, char **text, size_t *n_bytes)
{
    size_t capacity = 4096;
    size_t n = 0;
    char *data = malloc(capacity + 1);
    while (data != NULL) {
        if (wait != NULL && !wait(fd)) {
            free(data);
            return EINTR;
        }
        ssize_t got = read(fd, data + n, capacity - n);
        if (got <= 0) {
            if (got == 0) {
                data[n] = '\0';
                *text = data;
                *n_bytes = n;
                return 0;
            }
            int error = errno;
            free(data);
            return error;
        }
        n += (size_t)got;
        if (n > max_bytes) {
            free(data);
            return EFBIG;
        }
        if (n == capacity) {
            capacity *= 2;
            char *grown = realloc(data, capacity + 1);
            if (grown == NULL) {
                free(data);
            }
            data = grown;
        }
    }
    return ENOMEM;
}

int cs_file_read(const char *path, size_t max_bytes, cs_file_wait_fn wait, char **text, size_t *n_bytes)
{
    *text = NULL;
    *n_bytes = 0;
    if (strcmp(path, "-") == 0) {
        return read_all(STDIN_FILENO, max_bytes, wait, text, n_bytes);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    int error = read_all(fd, max_bytes, wait, text, n_bytes);
    close(fd);
    return error;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void init(cs_output *out, int fd, const char *name)
{
    out->fd = fd;
    out->error = 0;
    out->name = name;
    out->target = NULL;
    out->temporary = NULL;
    out->last = '\0';
    out->n_used = 0;
}

void cs_output_init_stdout(cs_output *out)
{
    init(out, STDOUT_FILENO, "standard output");
    /* What stands in for a closed stream cannot be written: better known before a model is loaded than after. */
    int flags = fcntl(STDOUT_FILENO, F_GETFL);
    if (flags == -1 || (flags & O_ACCMODE) == O_RDONLY) {
        out->error = EBADF;
    }
}

static int fail(cs_output *out, int error)
{
    if (out->error == 0) {
        out->error = error;
    }
    return out->error;
}

/* "dir/name" -> "dir/.name.XXXXXX". */
static char *name_temporary(const char *target)
{
    const char *slash = strrchr(target, '/');
    const char *base = slash == NULL ? target : slash + 1;
    size_t size = strlen(target) + sizeof "..XXXXXX";
    char *name = malloc(size);
    if (name != NULL) {
        snprintf(name, size, "%.*s.%s.XXXXXX", (int)(base - target), target, base);
    }
    return name;
}

static mode_t mode_from_umask(void)
{
    mode_t mask = umask(0);
    umask(mask);
    return 0666 & ~mask;
}

static int open_temporary(cs_output *out, const char *path, const struct stat *existing, bool is_private)
{
    out->target = existing != NULL ? realpath(path, NULL) : strdup(path);
    if (out->target == NULL) {
        return fail(out, errno);
    }
    /* A file that may not be written must not be replaced either, though the directory would allow it. */
    if (existing != NULL && access(path, W_OK) != 0) {
        return fail(out, errno);
    }
    out->temporary = name_temporary(out->target);
    if (out->temporary == NULL) {
        return fail(out, ENOMEM);
    }
    out->fd = mkstemp(out->temporary);
    if (out->fd < 0) {
        int error = errno;
        free(out->temporary);
        out->temporary = NULL;
        return fail(out, error);
    }
    mode_t mode = existing != NULL ? existing->st_mode & 0777 : mode_from_umask();
    if (!is_private && fchmod(out->fd, mode) != 0) {
        return fail(out, errno);
    }
    return 0;
}

int cs_output_open(cs_output *out, const char *path, bool is_private)
{
    if (strcmp(path, "-") == 0) {
        cs_output_init_stdout(out);
        return out->error;
    }
    init(out, -1, path);
    struct stat st;
    bool exists = stat(path, &st) == 0;
    if (!exists && errno != ENOENT) {
        return fail(out, errno);
    }
    /* Names under /dev and /proc may lead to a regular file that somebody else has open (/dev/stdout). */
    bool is_special = (exists && !S_ISREG(st.st_mode)) || strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0;
    if (!is_special) {
        return open_temporary(out, path, exists ? &st : NULL, is_private);
    }
    out->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    return out->fd < 0 ? fail(out, errno) : 0;
}

static bool write_through(cs_output *out, const char *bytes, size_t n_bytes)
{
    while (n_bytes > 0 && out->error == 0) {
        ssize_t written = write(out->fd, bytes, n_bytes);
        if (written < 0) {
            if (errno != EINTR) {
                fail(out, errno);
            }
            continue;
        }
        bytes += written;
        n_bytes -= (size_t)written;
    }
    return out->error == 0;
}

bool cs_output_flush(cs_output *out)
{
    size_t n = out->n_used;
    out->n_used = 0;
    return write_through(out, out->buffer, n);
}

bool cs_output_write(cs_output *out, const char *bytes, size_t n_bytes)
{
    if (n_bytes == 0) {
        return out->error == 0;
    }
    out->last = bytes[n_bytes - 1];
    if (out->n_used + n_bytes > sizeof out->buffer && !cs_output_flush(out)) {
        return false;
    }
    if (n_bytes > sizeof out->buffer) {
        return write_through(out, bytes, n_bytes);
    }
    memcpy(out->buffer + out->n_used, bytes, n_bytes);
    out->n_used += n_bytes;
    return out->error == 0;
}

bool cs_output_print(cs_output *out, const char *format, ...)
{
    char line[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof line) {
        fail(out, EOVERFLOW);
        return false;
    }
    return cs_output_write(out, line, (size_t)n);
}

static void forget(cs_output *out)
{
    free(out->target);
    free(out->temporary);
    out->target = NULL;
    out->temporary = NULL;
    out->fd = -1;
}

int cs_output_close(cs_output *out)
{
    if (out->fd < 0) {
        forget(out); /* one that never opened still holds its name */
        return out->error;
    }
    cs_output_flush(out);
    /* Standard output stays open for whoever writes next; its errors were seen by the flush. */
    if (out->fd != STDOUT_FILENO && close(out->fd) != 0) {
        fail(out, errno);
    }
    if (out->temporary != NULL) {
        if (out->error == 0 && rename(out->temporary, out->target) != 0) {
            fail(out, errno);
        }
        if (out->error != 0) {
            unlink(out->temporary);
        }
    }
    forget(out);
    return out->error;
}

void cs_output_discard(cs_output *out)
{
    if (out->fd >= 0 && out->fd != STDOUT_FILENO) {
        close(out->fd);
    }
    if (out->temporary != NULL) {
        unlink(out->temporary);
    }
    forget(out);
}
