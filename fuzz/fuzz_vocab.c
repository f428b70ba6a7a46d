/*
 * The file of kept vocabulary tables (src/core/vocab_cache.c). An input is a list of changes to a sound file, because its sum
 * would refuse nearly every blind mutation: first the mode, then four bytes a change. What is read from a changed file must be
 * what was kept, or nothing. Then the sum is made right, as someone who means harm would: whatever the tables say then, nothing
 * that uses them may leave them.
 *
 * A change: what (byte), where (two bytes), with what (byte). Numbers of four bytes get values beside the borders of the tables.
 */
#include "core/vocab_internal.h"
#include "util/file.h"

#include <dirent.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHANGE_BYTES 4
#define CHANGES_MAX  32
#define DIGEST_BYTES 32
#define HEADER_BYTES 112
#define N_WORDS_MAX  16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Two vocabularies, and for each mode their tables and the file that keeps them. */
typedef struct kept {
    costeer_vocab_map *map;
    char path[128];
    char *bytes; /* [n_bytes] of the sound file */
    size_t n_bytes;
} kept;

static char folder[] = "/tmp/costeer-fuzz-XXXXXX";
static const costeer_vocab_mode modes[] = {COSTEER_VOCAB_MAP, COSTEER_VOCAB_MAP_INTERSECT, COSTEER_VOCAB_BYTE};
#define N_MODES (sizeof modes / sizeof modes[0])
static kept files[N_MODES];
static cs_vocab_words llm;
static cs_vocab_words slm;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "fuzz_vocab: %s\n", what);
    abort();
}

/* ---- what is kept ------------------------------------------------------------------------------------------------ */

/* Words that share beginnings; the last two are special and the end. */
static cs_vocab_words make_words(const char *const *words, int32_t n)
{
    cs_vocab_words out = {.n = n, .end_of_answer = n - 1};
    out.at = calloc((size_t)n + 1, sizeof *out.at);
    out.kinds = calloc((size_t)n, 1);
    out.bytes = calloc((size_t)n, N_WORDS_MAX);
    if (out.at == NULL || out.kinds == NULL || out.bytes == NULL) {
        fail("out of memory");
    }
    for (int32_t i = 0; i < n; i++) {
        const size_t length = strlen(words[i]);
        out.kinds[i] = (unsigned char)(i == n - 1 ? CS_WORD_END : i == n - 2 ? CS_WORD_CONTROL : CS_WORD_TEXT);
        memcpy(out.bytes + out.at[i], words[i], length);
        out.at[i + 1] = out.at[i] + (int32_t)length;
    }
    if (!cs_vocab_words_hash(&out)) {
        fail("no SHA-256");
    }
    return out;
}

/* Removed at the end, so that tests leave nothing behind. */
static void clean_up(void)
{
    for (size_t i = 0; i < N_MODES; i++) {
        (void)unlink(files[i].path);
        costeer_vocab_map_free(files[i].map);
        free(files[i].bytes);
    }
    (void)rmdir(folder);
    cs_vocab_words_dispose(&llm);
    cs_vocab_words_dispose(&slm);
}

/* The folder's one file that no mode before this one has. */
static void find_file(size_t mode)
{
    DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char path[sizeof files[0].path];
        bool is_known = entry->d_name[0] == '.';
        (void)snprintf(path, sizeof path, "%s/%.60s", folder, entry->d_name);
        for (size_t i = 0; i < mode; i++) {
            is_known = is_known || strcmp(files[i].path, path) == 0;
        }
        if (!is_known) {
            memcpy(files[mode].path, path, sizeof path);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
}

static void prepare(void)
{
    static const char *const llm_words[] = {"a", "b", "c", "ab", "abc", "bc", "ca", "cab", "ac", "<x>", "</s>"};
    static const char *const slm_words[] = {"a", "b", "c", "abc", "ca", "bca", "cabc", "a", "<y>", "<end>"};
    if (mkdtemp(folder) == NULL) {
        fail("no temporary folder");
    }
    llm = make_words(llm_words, sizeof llm_words / sizeof llm_words[0]);
    slm = make_words(slm_words, sizeof slm_words / sizeof slm_words[0]);
    for (size_t i = 0; i < N_MODES; i++) {
        costeer_error err = {.code = COSTEER_OK};
        if (cs_vocab_map_align(&llm, &slm, modes[i], &files[i].map, &err) != COSTEER_OK) {
            fail(err.message);
        }
        cs_vocab_cache_store(folder, &llm, &slm, files[i].map);
        find_file(i);
        if (cs_file_read(files[i].path, 1 << 20, NULL, &files[i].bytes, &files[i].n_bytes) != 0) {
            fail("nothing was kept");
        }
    }
    (void)atexit(clean_up);
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

/* Apply one change to n of the capacity's bytes; returns how many there are then. */
static size_t change(char *bytes, size_t n, size_t capacity, const uint8_t *how)
{
    const size_t where = (size_t)how[1] | (size_t)how[2] << 8;
    const int32_t borders[] = {0, -1, -2, 1, INT32_MAX, INT32_MIN, llm.n, slm.n, llm.n + slm.n, slm.n - 1};
    const size_t n_numbers = n / sizeof(int32_t);
    switch (how[0] % 5) {
    case 0:
        if (n > 0) {
            bytes[where % n] = (char)how[3];
        }
        return n;
    case 1: /* a border */
    case 2: /* a small number */
        if (n_numbers > 0) {
            const int32_t value = how[0] % 5 == 1 ? borders[how[3] % (sizeof borders / sizeof borders[0])] : (int8_t)how[3];
            memcpy(bytes + where % n_numbers * sizeof value, &value, sizeof value);
        }
        return n;
    case 3:
        return where % (n + 1);
    default:
        if (n < capacity) {
            bytes[n] = (char)how[3];
            return n + 1;
        }
        return n;
    }
}

static size_t change_all(const kept *k, const uint8_t *data, size_t size, char *bytes, size_t capacity)
{
    size_t n = k->n_bytes;
    memcpy(bytes, k->bytes, n);
    for (size_t i = 0; i < CHANGES_MAX && (i + 1) * CHANGE_BYTES <= size; i++) {
        n = change(bytes, n, capacity, data + i * CHANGE_BYTES);
    }
    return n;
}

static void write_file(const char *path, const char *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes, 1, n, file) != n || fclose(file) != 0) {
        fail("the file cannot be written");
    }
}

/* ---- use --------------------------------------------------------------------------------------------------------- */

/* Every token and both ways through the tree. */
static void use(const costeer_vocab_map *map)
{
    static const float logits[N_WORDS_MAX] = {0.5F, -1.0F, 2.0F, 0.0F, -3.0F};
    float out[N_WORDS_MAX];
    int64_t sum = 0;
    size_t n;
    for (int32_t t = -1; t <= map->sizes.n_llm; t++) {
        const int32_t *tokens = NULL;
        const size_t n_spelling = t >= 0 && t < map->sizes.n_llm ? cs_vocab_map_spelling(map, t, &tokens) : 0;
        for (size_t i = 0; i < n_spelling; i++) {
            sum += tokens[i];
        }
        sum += costeer_vocab_map_partner(map, t);
        const char *bytes = cs_vocab_map_bytes(map, t, &n);
        for (size_t i = 0; i < n; i++) {
            sum += bytes[i];
        }
    }
    const int32_t *ends = cs_vocab_map_slm_ends(map, &n);
    sum += n > 0 ? ends[n - 1] : 0;
    sum += cs_vocab_map_count_longer(map, "a", 1) + cs_vocab_map_likeliest(map, logits, "ab", 2, NULL, 0);
    cs_vocab_mass *mass = NULL;
    if (map->mode == COSTEER_VOCAB_BYTE && cs_vocab_mass_create(map, &mass, NULL) == COSTEER_OK) {
        cs_vocab_mass_begin(mass);
        cs_vocab_mass_add(mass, logits, 0.0);
        cs_vocab_mass_add_crossing(mass, logits, -1.0, "a", 1);
        cs_vocab_mass_add_behind(mass, logits, -1.0, "ab", 2);
        cs_vocab_mass_finish(mass, out);
        sum += cs_vocab_mass_total(mass) > 0.0 ? 1 : 0;
    }
    cs_vocab_mass_free(mass);
    if (sum == INT64_MAX) {
        fail("cannot be");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char bytes[16384];
    if (files[0].map == NULL) {
        prepare();
    }
    if (size == 0) {
        return 0;
    }
    const size_t mode = data[0] % N_MODES;
    const kept *k = &files[mode];
    const size_t n = change_all(k, data + 1, size - 1, bytes, sizeof bytes);
    write_file(k->path, bytes, n);
    costeer_vocab_map *map = cs_vocab_cache_load(folder, &llm, &slm, modes[mode]);
    const bool is_as_kept = n == k->n_bytes && memcmp(bytes, k->bytes, n) == 0;
    if ((map != NULL) != is_as_kept) {
        fail(is_as_kept ? "a sound file is refused" : "a changed file is believed");
    }
    if (map != NULL && memcmp(map->block, k->map->block, cs_vocab_block_bytes(&map->sizes)) != 0) {
        fail("other tables than were kept");
    }
    costeer_vocab_map_free(map);
    if (n >= HEADER_BYTES + DIGEST_BYTES) {
        unsigned char sum[DIGEST_BYTES];
        if (EVP_Digest(bytes, n - DIGEST_BYTES, sum, NULL, EVP_sha256(), NULL) != 1) {
            fail("no SHA-256");
        }
        memcpy(bytes + n - DIGEST_BYTES, sum, DIGEST_BYTES);
        write_file(k->path, bytes, n);
        map = cs_vocab_cache_load(folder, &llm, &slm, modes[mode]);
        if (map != NULL) {
            use(map);
        }
        costeer_vocab_map_free(map);
    }
    return 0;
}
