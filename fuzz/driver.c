/*
 * A main() for the fuzz targets where libFuzzer is not at hand (gcc): runs the seeds, then mutations of them, so many or for some
 * seconds.
 *
 *   fuzz_wire [-mutations N | -seconds N] [-seed S] [-input FILE] FOLDER|FILE …
 *
 * The same seed makes the same inputs. Each input is in the file FILE (default: fuzz_wire.input) before it is run, so that a
 * crash leaves it there; the file is removed at the end when nothing failed. It knows nothing of coverage: it keeps rotten
 * targets and shallow bugs out of the tests; libFuzzer finds the deep ones (README.md).
 */
#include "util/parse.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX ((size_t)16384)
#define SEEDS_MAX 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    uint8_t *bytes;
    size_t n;
} input;

typedef struct driver {
    input seeds[SEEDS_MAX];
    size_t n_seeds;
    uint64_t random; /* xorshift64*, never 0 */
    const char *path;
    int fd;
    uint64_t n_runs;
} driver;

/* ---- running ----------------------------------------------------------------------------------------------------- */

static _Noreturn void fail(const char *what, const char *name)
{
    fprintf(stderr, "fuzz: %s: %s\n", name, what);
    exit(2);
}

static void run(driver *d, const uint8_t *bytes, size_t n)
{
    if (pwrite(d->fd, bytes, n, 0) != (ssize_t)n || ftruncate(d->fd, (off_t)n) != 0) {
        fail("the input cannot be written", d->path);
    }
    /* A copy of its own length, so that a sanitizer sees a byte read too many. */
    uint8_t *copy = malloc(n > 0 ? n : 1);
    if (copy == NULL) {
        fail("out of memory", d->path);
    }
    memcpy(copy, bytes, n);
    (void)LLVMFuzzerTestOneInput(copy, n);
    free(copy);
    d->n_runs++;
}

/* ---- mutations --------------------------------------------------------------------------------------------------- */

static uint64_t random_bits(driver *d)
{
    d->random ^= d->random >> 12;
    d->random ^= d->random << 25;
    d->random ^= d->random >> 27;
    return d->random * UINT64_C(2685821657736338717);
}

/* A number below n, n >= 1. */
static size_t below(driver *d, size_t n)
{
    return (size_t)((random_bits(d) >> 32) % n);
}

/* Put n bytes in at `at`, or as many as fit. */
static void insert(uint8_t *bytes, size_t *size, size_t at, const uint8_t *from, size_t n)
{
    n = n < INPUT_MAX - *size ? n : INPUT_MAX - *size;
    if (n == 0) {
        return;
    }
    memmove(bytes + at + n, bytes + at, *size - at);
    memcpy(bytes + at, from, n);
    *size += n;
}

static void erase(uint8_t *bytes, size_t *size, size_t at, size_t n)
{
    n = n < *size - at ? n : *size - at;
    memmove(bytes + at, bytes + at + n, *size - at - n);
    *size -= n;
}

static void mutate(driver *d, uint8_t *bytes, size_t *size)
{
    static const uint8_t borders[] = {0x00, 0x01, 0x7F, 0x80, 0x81, 0xC0, 0xFF};
    const size_t at = below(d, *size + 1);
    const uint8_t any = (uint8_t)random_bits(d);
    uint8_t piece[64];
    switch (below(d, 7)) {
    case 0:
        if (at < *size) {
            bytes[at] ^= (uint8_t)(1U << below(d, 8));
        }
        break;
    case 1:
        if (at < *size) {
            bytes[at] = any;
        }
        break;
    case 2:
        if (at < *size) {
            bytes[at] = borders[below(d, sizeof borders)];
        }
        break;
    case 3:
        insert(bytes, size, at, &any, 1);
        break;
    case 4:
        erase(bytes, size, at, 1 + below(d, 16));
        break;
    case 5: { /* a piece of another seed, in place or between */
        const input *other = &d->seeds[below(d, d->n_seeds)];
        const size_t from = below(d, other->n + 1);
        size_t n = 1 + below(d, sizeof piece);
        n = n < other->n - from ? n : other->n - from;
        if (below(d, 2) == 0) {
            erase(bytes, size, at, n);
        }
        insert(bytes, size, at, other->bytes + from, n);
        break;
    }
    default: { /* a piece of itself again */
        size_t n = 1 + below(d, sizeof piece);
        n = n < *size - at ? n : *size - at;
        memcpy(piece, bytes + at, n);
        insert(bytes, size, at, piece, n);
        break;
    }
    }
}

static double seconds_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* At least so many, and for at least so long. */
static void run_mutations(driver *d, uint64_t n_mutations, double seconds)
{
    static uint8_t bytes[INPUT_MAX];
    const double end = seconds_now() + seconds;
    for (uint64_t made = 0; made < n_mutations || seconds_now() < end; made++) {
        const input *seed = &d->seeds[below(d, d->n_seeds)];
        size_t n = seed->n;
        memcpy(bytes, seed->bytes, n);
        for (size_t i = 1 + below(d, 6); i > 0; i--) {
            mutate(d, bytes, &n);
        }
        run(d, bytes, n);
    }
}

/* ---- seeds ------------------------------------------------------------------------------------------------------- */

static void load_file(driver *d, const char *path)
{
    if (d->n_seeds == SEEDS_MAX) {
        fail("too many seeds", path);
    }
    input *seed = &d->seeds[d->n_seeds];
    FILE *file = fopen(path, "rb");
    seed->bytes = malloc(INPUT_MAX);
    if (file == NULL || seed->bytes == NULL) {
        fail("cannot be read", path);
    }
    seed->n = fread(seed->bytes, 1, INPUT_MAX, file);
    (void)fclose(file);
    d->n_seeds++;
}

static int is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* In order of name, so that the same seed of the generator makes the same inputs everywhere. */
static void load_folder(driver *d, const char *path)
{
    struct dirent **entries;
    const int n = scandir(path, &entries, is_shown, alphasort);
    if (n < 0) {
        fail("cannot be read", path);
    }
    for (int i = 0; i < n; i++) {
        char name[4096];
        (void)snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        load_file(d, name);
        free(entries[i]);
    }
    free(entries);
}

static void load(driver *d, const char *path)
{
    struct stat status;
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        load_folder(d, path);
    } else {
        load_file(d, path);
    }
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

static uint64_t number(const char *text)
{
    uint64_t value = 0;
    if (cs_parse_uint64(text, &value) != CS_PARSE_OK) {
        fail("not a number", text);
    }
    return value;
}

int main(int argc, char **argv)
{
    static driver d;
    static char path[4096]; /* static as d, which points at it */
    (void)snprintf(path, sizeof path, "%s.input", argv[0]);
    d.path = path;
    uint64_t n_mutations = 0, seconds = 0;
    uint64_t seed = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-mutations") == 0 && i + 1 < argc) {
            n_mutations = number(argv[++i]);
        } else if (strcmp(argv[i], "-seconds") == 0 && i + 1 < argc) {
            seconds = number(argv[++i]);
        } else if (strcmp(argv[i], "-seed") == 0 && i + 1 < argc) {
            seed = number(argv[++i]);
        } else if (strcmp(argv[i], "-input") == 0 && i + 1 < argc) {
            d.path = argv[++i];
        } else {
            load(&d, argv[i]);
        }
    }
    if (d.n_seeds == 0) {
        fail("no seeds; give a folder of them", argv[0]);
    }
    d.random = seed * UINT64_C(0x9E3779B97F4A7C15) | 1;
    d.fd = open(d.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (d.fd < 0) {
        fail("cannot be written", d.path);
    }
    fprintf(stderr, "fuzz: %zu seeds, then %llu mutations or %llu s; a failing input is in %s\n", d.n_seeds,
            (unsigned long long)n_mutations, (unsigned long long)seconds, d.path);
    for (size_t i = 0; i < d.n_seeds; i++) {
        run(&d, d.seeds[i].bytes, d.seeds[i].n);
    }
    run_mutations(&d, n_mutations, (double)seconds);
    fprintf(stderr, "fuzz: %llu inputs, nothing found\n", (unsigned long long)d.n_runs);
    (void)close(d.fd);
    (void)unlink(d.path);
    for (size_t i = 0; i < d.n_seeds; i++) {
        free(d.seeds[i].bytes);
    }
    return 0;
}
