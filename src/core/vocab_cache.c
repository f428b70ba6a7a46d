/*
 * Tables kept in a file, named by what they were made of. A file is believed only when all of it is: both vocabularies' hashes,
 * the sizes, a SHA-256 of everything, and every index in its range. Anything else is made again, without a word to the caller:
 * the cache saves time and must never be why something does not work.
 *
 * Layout: header, the block of vocab_internal.h as it is in memory (its byte order is marked), SHA-256 of both.
 */
#include "core/vocab_internal.h"
#include "util/file.h"
#include "util/log.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Raise it whenever the meaning of the tables changes, for example how partners are chosen. */
#define FORMAT_VERSION  1U
#define BYTE_ORDER_MARK 0x01020304U
#define DIGEST_BYTES    32

typedef struct cache_header {
    char magic[8];
    uint32_t version;
    uint32_t byte_order;
    uint32_t mode;
    cs_vocab_sizes sizes;
    unsigned char llm[DIGEST_BYTES];
    unsigned char slm[DIGEST_BYTES];
} cache_header;

static_assert(sizeof(cache_header) == 112, "the header is written as it is: it must have no padding");

/* ---- names ------------------------------------------------------------------------------------------------------- */

static bool digest(const void *bytes, size_t n, unsigned char out[DIGEST_BYTES])
{
    return EVP_Digest(bytes, n, out, NULL, EVP_sha256(), NULL) == 1;
}

static void make_header(const cs_vocab_words *llm, const cs_vocab_words *slm, costeer_vocab_mode mode, cache_header *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out->magic, "CSVOCAB", sizeof out->magic);
    out->version = FORMAT_VERSION;
    out->byte_order = BYTE_ORDER_MARK;
    out->mode = (uint32_t)mode;
    memcpy(out->llm, llm->sha256, DIGEST_BYTES);
    memcpy(out->slm, slm->sha256, DIGEST_BYTES);
}

/* The header without sizes names the file: everything that the tables depend on is in it. */
static bool make_path(const char *dir, const cache_header *header, char *path, size_t size)
{
    unsigned char hash[DIGEST_BYTES];
    if (!digest(header, sizeof *header, hash)) {
        return false;
    }
    char name[17];
    for (size_t i = 0; i < 8; i++) {
        (void)snprintf(name + 2 * i, 3, "%02x", hash[i]);
    }
    const int n = snprintf(path, size, "%s/vocab-%s.map", dir, name);
    return n > 0 && (size_t)n < size;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static bool all_within(const int32_t *values, int32_t n, int32_t low, int32_t high)
{
    for (int32_t i = 0; i < n; i++) {
        if (values[i] < low || values[i] >= high) {
            return false;
        }
    }
    return true;
}

/* Offsets of n pieces that fill [0, end). */
static bool are_offsets(const int32_t *at, int32_t n, int32_t end)
{
    for (int32_t i = 0; i < n; i++) {
        if (at[i] > at[i + 1]) {
            return false;
        }
    }
    return at[0] == 0 && at[n] == end;
}

static bool is_tree(const costeer_vocab_map *map)
{
    for (int32_t i = 0; i < map->sizes.n_strings; i++) {
        if (map->parent[i] < -1 || map->parent[i] >= i || map->stop[i] <= i || map->stop[i] > map->sizes.n_strings) {
            return false;
        }
    }
    return true;
}

/* No index leads outside of its array, whoever wrote the file. */
static bool is_sound(const costeer_vocab_map *map)
{
    const cs_vocab_sizes *s = &map->sizes;
    return all_within(map->partner, s->n_llm, -1, s->n_slm) && all_within(map->exact, s->n_llm, -1, s->n_slm) &&
           all_within(map->place, s->n_llm, CS_PLACE_END, s->n_strings) && all_within(map->ends, s->n_ends, 0, s->n_slm) &&
           all_within(map->slm_token, s->n_strings, -1, s->n_slm) && all_within(map->twins, 2 * s->n_twins, 0, s->n_slm) &&
           all_within(map->spelling, s->n_spelling, 0, s->n_slm) && are_offsets(map->spelling_at, s->n_llm, s->n_spelling) &&
           are_offsets(map->at, s->n_strings, s->n_bytes) && is_tree(map);
}

/* The most that tables between these two can hold. */
static cs_vocab_sizes largest_sizes(const cs_vocab_words *llm, const cs_vocab_words *slm)
{
    return (cs_vocab_sizes){.n_llm = llm->n,
                            .n_slm = slm->n,
                            .n_ends = slm->n,
                            .n_strings = llm->n + slm->n,
                            .n_twins = slm->n,
                            .n_bytes = llm->at[llm->n] + slm->at[slm->n],
                            .n_spelling = llm->at[llm->n]};
}

static bool is_between(int32_t value, int32_t most)
{
    return value >= 0 && value <= most;
}

static bool are_possible(const cs_vocab_sizes *s, const cs_vocab_sizes *most)
{
    return s->n_llm == most->n_llm && s->n_slm == most->n_slm && is_between(s->n_ends, most->n_ends) &&
           is_between(s->n_strings, most->n_strings) && is_between(s->n_twins, most->n_twins) &&
           is_between(s->n_bytes, most->n_bytes) && is_between(s->n_spelling, most->n_spelling);
}

/* The tables in a file's bytes; NULL with the reason. */
static costeer_vocab_map *parse(const char *bytes, size_t n, const cache_header *wanted, const cs_vocab_sizes *most,
                                const char **why)
{
    cache_header header;
    *why = "it is too short";
    if (n < sizeof header + DIGEST_BYTES) {
        return NULL;
    }
    memcpy(&header, bytes, sizeof header);
    const cs_vocab_sizes sizes = header.sizes;
    memset(&header.sizes, 0, sizeof header.sizes);
    *why = "it was made for something else";
    if (memcmp(&header, wanted, sizeof header) != 0 || !are_possible(&sizes, most)) {
        return NULL;
    }
    unsigned char hash[DIGEST_BYTES];
    *why = "it is damaged";
    if (n != sizeof header + cs_vocab_block_bytes(&sizes) + DIGEST_BYTES || !digest(bytes, n - DIGEST_BYTES, hash) ||
        memcmp(hash, bytes + n - DIGEST_BYTES, DIGEST_BYTES) != 0) {
        return NULL;
    }
    costeer_vocab_map *map = cs_vocab_map_new((costeer_vocab_mode)header.mode, &sizes);
    if (map == NULL) {
        *why = "no memory";
        return NULL;
    }
    memcpy(map->block, bytes + sizeof header, cs_vocab_block_bytes(&sizes));
    if (!is_sound(map)) {
        costeer_vocab_map_free(map);
        return NULL;
    }
    return map;
}

costeer_vocab_map *cs_vocab_cache_load(const char *dir, const cs_vocab_words *llm, const cs_vocab_words *slm,
                                       costeer_vocab_mode mode)
{
    cache_header wanted;
    char path[4096];
    make_header(llm, slm, mode, &wanted);
    struct stat status;
    if (!make_path(dir, &wanted, path, sizeof path) || stat(path, &status) != 0 || !S_ISREG(status.st_mode)) {
        return NULL; /* reading from anything but a file could block */
    }
    if ((size_t)llm->n + (size_t)slm->n > INT32_MAX || (size_t)llm->at[llm->n] + (size_t)slm->at[slm->n] > INT32_MAX) {
        return NULL;
    }
    const cs_vocab_sizes most = largest_sizes(llm, slm);
    char *bytes;
    size_t n;
    const int error = cs_file_read(path, sizeof wanted + cs_vocab_block_bytes(&most) + DIGEST_BYTES, NULL, &bytes, &n);
    const char *why = strerror(error);
    costeer_vocab_map *map = error == 0 ? parse(bytes, n, &wanted, &most, &why) : NULL;
    free(bytes);
    if (map == NULL) {
        cs_log(COSTEER_LOG_DEBUG, "vocab", "%s is not used (%s); its tables are made again", path, why);
    }
    return map;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Make a folder and those above it; what cannot be made shows when the file is opened. */
static void make_folders(const char *dir)
{
    char path[4096];
    const int n = snprintf(path, sizeof path, "%s", dir);
    if (n <= 0 || (size_t)n >= sizeof path) {
        return;
    }
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    (void)mkdir(path, 0700);
}

static bool write_tables(cs_output *out, const cache_header *header, const costeer_vocab_map *map)
{
    const size_t n = cs_vocab_block_bytes(&map->sizes);
    unsigned char hash[DIGEST_BYTES];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
    ok = ok && EVP_DigestUpdate(context, header, sizeof *header) == 1 && EVP_DigestUpdate(context, map->block, n) == 1;
    ok = ok && EVP_DigestFinal_ex(context, hash, NULL) == 1;
    EVP_MD_CTX_free(context);
    return ok && cs_output_write(out, (const char *)header, sizeof *header) && cs_output_write(out, map->block, n) &&
           cs_output_write(out, (const char *)hash, sizeof hash);
}

void cs_vocab_cache_store(const char *dir, const cs_vocab_words *llm, const cs_vocab_words *slm, const costeer_vocab_map *map)
{
    cache_header header;
    char path[4096];
    struct stat status;
    make_header(llm, slm, map->mode, &header);
    if (!make_path(dir, &header, path, sizeof path) || (lstat(path, &status) == 0 && !S_ISREG(status.st_mode))) {
        return; /* opening a pipe could block, and a link in a folder that others write may lead to one of our files */
    }
    header.sizes = map->sizes;
    make_folders(dir);
    cs_output out;
    int error = cs_output_open(&out, path, true);
    if (error == 0 && write_tables(&out, &header, map)) {
        error = cs_output_close(&out);
    } else {
        error = out.error != 0 ? out.error : EIO;
        cs_output_discard(&out);
    }
    if (error != 0) {
        cs_log(COSTEER_LOG_DEBUG, "vocab", "%s: %s; the tables are not kept", path, strerror(error));
    }
}
