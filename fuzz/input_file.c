/* An input as a file: made once, without a name, and opened again through /dev/fd. */
#include "fuzz/input_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static _Noreturn void fail(const char *what)
{
    perror(what);
    abort();
}

const char *fuzz_input_file(const uint8_t *data, size_t size)
{
    static char path[64];
    static int fd = -1;
    if (fd < 0) {
        char name[] = "/tmp/costeer-fuzz-XXXXXX";
        fd = mkstemp(name);
        if (fd < 0 || unlink(name) != 0) {
            fail("mkstemp");
        }
        (void)snprintf(path, sizeof path, "/dev/fd/%d", fd);
    }
    if (pwrite(fd, data, size, 0) != (ssize_t)size || ftruncate(fd, (off_t)size) != 0) {
        fail("write");
    }
    return path;
}
