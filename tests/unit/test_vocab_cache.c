/* Tables kept in files: found again, and made anew when the file is anything but whole and right. */
#include "support/words.h"
#include "util/file.h"

#include <dirent.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define CACHE_DIR COSTEER_TEST_TMP_DIR "/vocab-cache/a/b"

/* Two vocabularies, their tables, and the one file that keeps them. */
typedef struct kept {
    cs_vocab_words llm;
    cs_vocab_words slm;
    costeer_vocab_map *map;
    char path[1024];
    char *bytes; /* [n_bytes] of the whole file */
    size_t n_bytes;
} kept;

static size_t list_files(char *path, size_t size)
{
    DIR *dir = opendir(CACHE_DIR);
    size_t n = 0;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.' || strlen(entry->d_name) > 2) {
            (void)snprintf(path, size, "%s/%s", CACHE_DIR, entry->d_name);
            n++;
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n;
}

static void empty_cache(void)
{
    char path[1024];
    while (list_files(path, sizeof path) > 0) {
        if (unlink(path) != 0) {
            assert_int_equal(rmdir(path), 0);
        }
    }
}

static kept keep(void)
{
    struct test_random r = {.state = 77};
    kept k = {.llm = words_random(&r, 30, 3, true), .slm = words_random(&r, 25, 3, true)};
    k.map = words_align(&k.llm, &k.slm, COSTEER_VOCAB_BYTE);
    empty_cache();
    cs_vocab_cache_store(CACHE_DIR, &k.llm, &k.slm, k.map);
    assert_int_equal(list_files(k.path, sizeof k.path), 1);
    assert_int_equal(cs_file_read(k.path, 1 << 20, NULL, &k.bytes, &k.n_bytes), 0);
    return k;
}

static void dispose(kept *k)
{
    empty_cache();
    free(k->bytes);
    costeer_vocab_map_free(k->map);
    cs_vocab_words_dispose(&k->slm);
    cs_vocab_words_dispose(&k->llm);
}

static void write_file(const kept *k, const char *bytes, size_t n)
{
    FILE *file = fopen(k->path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static costeer_vocab_map *load(const kept *k)
{
    return cs_vocab_cache_load(CACHE_DIR, &k->llm, &k->slm, COSTEER_VOCAB_BYTE);
}

static void assert_refused(const kept *k)
{
    costeer_vocab_map *map = load(k);
    assert_null(map);
    costeer_vocab_map_free(map);
}

static void test_cache__gives_back_what_was_kept(void **state)
{
    (void)state;
    kept k = keep();
    struct stat status;
    assert_int_equal(stat(k.path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    costeer_vocab_map *map = load(&k);
    assert_non_null(map);
    assert_same_tables(map, k.map);
    costeer_vocab_map_free(map);
    dispose(&k);
}

static void test_cache__is_of_these_vocabularies_and_this_mode_only(void **state)
{
    (void)state;
    kept k = keep();
    assert_null(cs_vocab_cache_load(CACHE_DIR, &k.slm, &k.llm, COSTEER_VOCAB_BYTE));
    assert_null(cs_vocab_cache_load(CACHE_DIR, &k.llm, &k.slm, COSTEER_VOCAB_MAP));
    assert_null(cs_vocab_cache_load(COSTEER_TEST_TMP_DIR "/no-such-folder", &k.llm, &k.slm, COSTEER_VOCAB_BYTE));
    k.slm.kinds[k.slm.n - 1] = k.slm.kinds[k.slm.n - 1] == CS_WORD_END ? CS_WORD_CONTROL : CS_WORD_END;
    assert_true(cs_vocab_words_hash(&k.slm));
    assert_refused(&k);
    dispose(&k);
}

static void test_cache__a_file_with_any_byte_changed_is_refused(void **state)
{
    (void)state;
    kept k = keep();
    for (size_t i = 0; i < k.n_bytes; i += i < 112 || i + 32 >= k.n_bytes ? 1 : 5) { /* all of header and sum */
        k.bytes[i] = (char)(k.bytes[i] ^ 0x41);
        write_file(&k, k.bytes, k.n_bytes);
        assert_refused(&k);
        k.bytes[i] = (char)(k.bytes[i] ^ 0x41);
    }
    dispose(&k);
}

static void test_cache__a_file_of_any_other_length_is_refused(void **state)
{
    (void)state;
    kept k = keep();
    for (size_t n = 0; n < k.n_bytes; n += n < 112 || n + 32 >= k.n_bytes ? 1 : 7) {
        write_file(&k, k.bytes, n);
        assert_refused(&k);
    }
    char *longer = calloc(k.n_bytes + (1 << 20), 1);
    assert_non_null(longer);
    memcpy(longer, k.bytes, k.n_bytes);
    write_file(&k, longer, k.n_bytes + 1);
    assert_refused(&k);
    write_file(&k, longer, k.n_bytes + (1 << 20)); /* more than such tables can have */
    assert_refused(&k);
    free(longer);
    dispose(&k);
}

/* A file that somebody made on purpose: the sums are right, the numbers are not. */
static void write_forged(const kept *k, size_t at, int32_t value)
{
    char *forged = malloc(k->n_bytes);
    assert_non_null(forged);
    memcpy(forged, k->bytes, k->n_bytes);
    memcpy(forged + at, &value, sizeof value);
    unsigned char digest[32];
    assert_int_equal(EVP_Digest(forged, k->n_bytes - 32, digest, NULL, EVP_sha256(), NULL), 1);
    memcpy(forged + k->n_bytes - 32, digest, sizeof digest);
    write_file(k, forged, k->n_bytes);
    free(forged);
}

static void test_cache__forged_numbers_never_lead_outside(void **state)
{
    (void)state;
    kept k = keep();
    const int32_t values[] = {INT32_MIN, -3, INT32_MAX, 1 << 20};
    const size_t n_header = k.n_bytes - 32 - cs_vocab_block_bytes(&k.map->sizes);
    const size_t n_numbers = cs_vocab_block_bytes(&k.map->sizes) - (size_t)k.map->sizes.n_bytes;
    for (size_t at = 20; at < n_header + n_numbers; at += at + 4 == 48 ? 68 : 4) { /* the sizes, then all numbers */
        write_forged(&k, at, values[at / 4 % (sizeof values / sizeof values[0])]);
        assert_refused(&k);
    }
    write_forged(&k, n_header, k.map->partner[0]); /* and nothing else is wrong with forged files */
    costeer_vocab_map *map = load(&k);
    assert_non_null(map);
    costeer_vocab_map_free(map);
    dispose(&k);
}

static void test_cache__what_is_no_file_is_left_alone(void **state)
{
    (void)state;
    kept k = keep();
    assert_int_equal(unlink(k.path), 0);
    assert_int_equal(mkfifo(k.path, 0600), 0); /* opening it would wait for ever */
    assert_refused(&k);
    cs_vocab_cache_store(CACHE_DIR, &k.llm, &k.slm, k.map);
    assert_int_equal(unlink(k.path), 0);
    assert_int_equal(mkdir(k.path, 0700), 0);
    assert_refused(&k);
    cs_vocab_cache_store(CACHE_DIR, &k.llm, &k.slm, k.map);
    assert_refused(&k);
    dispose(&k);
}

static void test_cache__a_link_in_its_place_is_not_written_through(void **state)
{
    (void)state;
    kept k = keep();
    char target[1100];
    struct stat status;
    (void)snprintf(target, sizeof target, "%s-target", k.path);
    assert_int_equal(rename(k.path, target), 0);
    assert_int_equal(truncate(target, 0), 0);
    assert_int_equal(symlink(target, k.path), 0);
    cs_vocab_cache_store(CACHE_DIR, &k.llm, &k.slm, k.map);
    assert_int_equal(stat(target, &status), 0);
    assert_int_equal(status.st_size, 0);
    assert_refused(&k);
    dispose(&k);
}

static void test_cache__a_folder_that_cannot_be_made_is_no_error(void **state)
{
    (void)state;
    kept k = keep();
    char dir[1100];
    (void)snprintf(dir, sizeof dir, "%s/below-a-file", k.path);
    cs_vocab_cache_store(dir, &k.llm, &k.slm, k.map);
    assert_null(cs_vocab_cache_load(dir, &k.llm, &k.slm, COSTEER_VOCAB_BYTE));
    cs_vocab_cache_store("", &k.llm, &k.slm, k.map);
    char *endless = malloc(6000);
    assert_non_null(endless);
    memset(endless, 'x', 5999);
    endless[5999] = '\0';
    cs_vocab_cache_store(endless, &k.llm, &k.slm, k.map);
    assert_null(cs_vocab_cache_load(endless, &k.llm, &k.slm, COSTEER_VOCAB_BYTE));
    free(endless);
    dispose(&k);
}

/* ---- several at once --------------------------------------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS  20

typedef struct worker {
    const kept *k;
    bool went_wrong;
} worker;

static void *keep_and_read(void *user)
{
    worker *w = user;
    for (int i = 0; i < ROUNDS; i++) {
        cs_vocab_cache_store(CACHE_DIR, &w->k->llm, &w->k->slm, w->k->map);
        costeer_vocab_map *map = load(w->k); /* a whole file stands there at any moment */
        w->went_wrong =
            w->went_wrong || map == NULL || memcmp(map->block, w->k->map->block, cs_vocab_block_bytes(&w->k->map->sizes)) != 0;
        costeer_vocab_map_free(map);
    }
    return NULL;
}

static void test_cache__many_may_keep_the_same_tables_at_once(void **state)
{
    (void)state;
    kept k = keep();
    pthread_t threads[THREADS];
    worker workers[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (worker){.k = &k};
        assert_int_equal(pthread_create(&threads[i], NULL, keep_and_read, &workers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(workers[i].went_wrong);
    }
    char path[1024];
    assert_int_equal(list_files(path, sizeof path), 1); /* no temporary was left behind */
    dispose(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache__gives_back_what_was_kept),
        cmocka_unit_test(test_cache__is_of_these_vocabularies_and_this_mode_only),
        cmocka_unit_test(test_cache__a_file_with_any_byte_changed_is_refused),
        cmocka_unit_test(test_cache__a_file_of_any_other_length_is_refused),
        cmocka_unit_test(test_cache__forged_numbers_never_lead_outside),
        cmocka_unit_test(test_cache__what_is_no_file_is_left_alone),
        cmocka_unit_test(test_cache__a_link_in_its_place_is_not_written_through),
        cmocka_unit_test(test_cache__a_folder_that_cannot_be_made_is_no_error),
        cmocka_unit_test(test_cache__many_may_keep_the_same_tables_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
