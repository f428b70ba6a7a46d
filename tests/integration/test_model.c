/* Loading models, good and bad; what they say of themselves; pairing. */
#include "support/gguf_edit.h"
#include "support/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

/* Load a file that must be refused; the message must name the path and hold a phrase. */
static void assert_refused(const char *path, const costeer_model_params *params, const char *phrase)
{
    costeer_model *model = (costeer_model *)&params;
    costeer_error err = {0};
    assert_int_equal(costeer_model_load(path, params, &model, &err), COSTEER_EMODEL);
    assert_null(model);
    if (strstr(err.message, phrase) == NULL || strstr(err.message, path) == NULL || strchr(err.message, '\n') != NULL) {
        fail_msg("message without \"%s\" or the path, or not one line: %s", phrase, err.message);
    }
}

/* ---- files that are no models ------------------------------------------------------------------------------------ */

static void test_model_load__refuses_what_is_no_file(void **state)
{
    (void)state;
    assert_refused(TMP_PATH("does-not-exist.gguf"), NULL, "No such file");
    assert_refused(COSTEER_TEST_TMP_DIR, NULL, "is a directory");
    assert_refused("/dev/null", NULL, "not a regular file");
}

static void test_model_load__refuses_what_is_not_gguf(void **state)
{
    (void)state;
    copy_file(SLM_PATH, TMP_PATH("empty.gguf"), 0);
    assert_refused(TMP_PATH("empty.gguf"), NULL, "is empty");
    copy_file(SLM_PATH, TMP_PATH("three.gguf"), 3);
    assert_refused(TMP_PATH("three.gguf"), NULL, "not a GGUF file");
    copy_file(LLM_PATH, TMP_PATH("other.gguf"), 10000);
    patch_file(TMP_PATH("other.gguf"), 0, "ELF!", 4);
    assert_refused(TMP_PATH("other.gguf"), NULL, "not a GGUF file");
}

static void test_model_load__refuses_truncated_files_wherever_they_end(void **state)
{
    (void)state;
    struct stat status;
    assert_int_equal(stat(SLM_PATH, &status), 0);
    const size_t all = (size_t)status.st_size;
    const size_t cuts[] = {4, 8, 23, 24, 100, 5000, 20000, all / 4, all / 2, all - 4096, all - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        copy_file(SLM_PATH, TMP_PATH("cut.gguf"), cuts[i]);
        assert_refused(TMP_PATH("cut.gguf"), NULL, "truncated");
    }
    copy_file(SLM_PATH, TMP_PATH("cut.gguf"), all - 1);
    assert_refused(TMP_PATH("cut.gguf"), &(costeer_model_params){.vocab_only = true}, "truncated");
}

static void test_model_load__refuses_damaged_headers(void **state)
{
    (void)state;
    copy_file(SLM_PATH, TMP_PATH("damaged.gguf"), SIZE_MAX);
    patch_file(TMP_PATH("damaged.gguf"), 4, "\xFF\xFF\x00\x00", 4); /* the version */
    assert_refused(TMP_PATH("damaged.gguf"), NULL, "damaged");
    copy_file(SLM_PATH, TMP_PATH("damaged.gguf"), SIZE_MAX);
    patch_file(TMP_PATH("damaged.gguf"), 8, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 8); /* the number of tensors */
    assert_refused(TMP_PATH("damaged.gguf"), NULL, "damaged");
    copy_file(SLM_PATH, TMP_PATH("damaged.gguf"), SIZE_MAX);
    patch_file(TMP_PATH("damaged.gguf"), 24, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 8); /* the length of the first key */
    assert_refused(TMP_PATH("damaged.gguf"), NULL, "damaged");
}

/* ---- metadata that llama.cpp would only assert ------------------------------------------------------------------- */

static void assert_refused_with_u32(const char *key, uint32_t value, const char *phrase)
{
    gguf_edit *edit = gguf_edit_open(SLM_PATH);
    gguf_edit_set_u32(edit, key, value);
    gguf_edit_write(edit, TMP_PATH("edited.gguf"), false);
    assert_refused(TMP_PATH("edited.gguf"), NULL, phrase);
}

static void test_model_load__refuses_impossible_numbers(void **state)
{
    (void)state;
    assert_refused_with_u32("llama.block_count", 0, "block_count");
    assert_refused_with_u32("llama.block_count", 100000, "block_count");
    assert_refused_with_u32("llama.embedding_length", 0, "embedding_length");
    assert_refused_with_u32("llama.context_length", 0, "context_length");
    assert_refused_with_u32("llama.attention.head_count_kv", 4096, "head_count_kv");
    assert_refused_with_u32("llama.expert_count", 100000, "expert_count");
    assert_refused_with_u32("llama.expert_used_count", 2, "expert_used_count");
    assert_refused_with_u32("llama.feed_forward_length", 7, "cannot be loaded"); /* llama.cpp finds that itself */
    assert_refused_with_u32("llama.block_count", 99, "cannot be loaded");
}

static void test_model_load__refuses_other_damage_to_metadata(void **state)
{
    (void)state;
    gguf_edit *edit = gguf_edit_open(SLM_PATH);
    gguf_edit_rename_token(edit, 300, "twice the same");
    gguf_edit_rename_token(edit, 301, "twice the same");
    gguf_edit_write(edit, TMP_PATH("edited.gguf"), false);
    assert_refused(TMP_PATH("edited.gguf"), NULL, "token 301 repeats");
    edit = gguf_edit_open(SLM_PATH);
    gguf_edit_set_text(edit, "llama.rope.scaling.type", "nonsense");
    gguf_edit_write(edit, TMP_PATH("edited.gguf"), false);
    assert_refused(TMP_PATH("edited.gguf"), NULL, "rope.scaling.type");
    edit = gguf_edit_open(SLM_PATH);
    gguf_edit_set_text(edit, "general.architecture", "no-such-architecture");
    gguf_edit_write(edit, TMP_PATH("edited.gguf"), false);
    assert_refused(TMP_PATH("edited.gguf"), NULL, "no-such-architecture");
    edit = gguf_edit_open(SLM_PATH);
    gguf_edit_remove(edit, "general.architecture");
    gguf_edit_write(edit, TMP_PATH("edited.gguf"), false);
    assert_refused(TMP_PATH("edited.gguf"), NULL, "architecture");
    edit = gguf_edit_open(SLM_PATH);
    gguf_edit_remove(edit, "tokenizer.ggml.tokens");
    gguf_edit_write(edit, TMP_PATH("edited.gguf"), false);
    assert_refused(TMP_PATH("edited.gguf"), NULL, "no tokenizer");
}

/* ---- models that do not generate --------------------------------------------------------------------------------- */

static void test_model_load__refuses_models_that_do_not_generate(void **state)
{
    (void)state;
    gguf_edit *edit = gguf_edit_open(SLM_PATH);
    gguf_edit_set_bool(edit, "llama.attention.causal", false);
    gguf_edit_write(edit, TMP_PATH("edited.gguf"), false);
    assert_refused(TMP_PATH("edited.gguf"), NULL, "cannot generate text");
    assert_refused_with_u32("llama.pooling_type", 3, "cannot generate text");
    edit = gguf_edit_open(SLM_PATH);
    gguf_edit_set_text(edit, "general.architecture", "bert");
    gguf_edit_write(edit, TMP_PATH("edited.gguf"), false);
    assert_refused(TMP_PATH("edited.gguf"), NULL, "cannot generate text");
    edit = gguf_edit_open(SLM_PATH);
    gguf_edit_set_text(edit, "general.type", "adapter");
    gguf_edit_write(edit, TMP_PATH("edited.gguf"), false);
    assert_refused(TMP_PATH("edited.gguf"), NULL, "\"adapter\"");
}

static void test_model_load__a_vocabulary_alone_cannot_generate(void **state)
{
    (void)state;
    gguf_edit_write(gguf_edit_open(SLM_PATH), TMP_PATH("vocabulary.gguf"), true);
    assert_refused(TMP_PATH("vocabulary.gguf"), NULL, "no weights");
    costeer_model *model = NULL;
    costeer_error err = {0};
    assert_ok(costeer_model_load(TMP_PATH("vocabulary.gguf"), &(costeer_model_params){.vocab_only = true}, &model, &err), &err);
    costeer_slm *slm = NULL;
    const costeer_slm_params params = {.n_contexts = 1, .n_threads = 1};
    assert_int_equal(costeer_slm_create(model, &params, &slm, &err), COSTEER_EMODEL);
    assert_non_null(strstr(err.message, "without weights"));
    costeer_model_free(model);
}

static bool stop_at_once(float share, void *user)
{
    (void)share;
    (*(int *)user)++;
    return false;
}

static void test_model_load__can_be_cancelled_by_its_progress_callback(void **state)
{
    (void)state;
    int calls = 0;
    costeer_model *model = NULL;
    costeer_error err = {0};
    const costeer_model_params params = {.progress = stop_at_once, .progress_user = &calls};
    assert_int_equal(costeer_model_load(SLM_PATH, &params, &model, &err), COSTEER_ECANCELED);
    assert_null(model);
    assert_true(calls >= 1);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* their own memory would be counted */

/* A line of /proc/self/status in bytes; 0 where there is none. */
static uint64_t status_bytes(const char *name)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    uint64_t kib = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            kib = strtoull(line + strlen(name), NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return kib * 1024;
}

/* The built-in LLM is F16, which llama.cpp repacks on no CPU. The second load needs no tokenizer of its own. */
static void test_model_load__weights_that_are_used_as_they_are_take_no_memory_of_the_process(void **state)
{
    (void)state;
    costeer_model *first = load_model(LLM_PATH);
    const uint64_t own = status_bytes("RssAnon:");
    const uint64_t of_files = status_bytes("RssFile:");
    if (own == 0) {
        costeer_model_free(first);
        skip(); /* not Linux */
    }
    costeer_model *second = load_model(LLM_PATH);
    const uint64_t grown = status_bytes("RssAnon:") - own;
    if ((int64_t)grown > (int64_t)(costeer_model_get_info(second)->size_bytes / 4)) {
        fail_msg("%llu bytes of own memory for %llu bytes of weights", (unsigned long long)grown,
                 (unsigned long long)costeer_model_get_info(second)->size_bytes);
    }
    /* Nothing was computed yet, so what was mapped is back with the page cache. */
    assert_true((int64_t)(status_bytes("RssFile:") - of_files) < (int64_t)(costeer_model_get_info(second)->size_bytes / 4));
    costeer_model_free(second);
    costeer_model_free(first);
}

#endif

/* ---- models in several files ------------------------------------------------------------------------------------- */

#define SPLIT       TMP_PATH("split")
#define SPLIT_FIRST TMP_PATH("split-00001-of-00003.gguf")
#define SPLIT_THIRD TMP_PATH("split-00003-of-00003.gguf")

static void test_model_load__a_model_in_three_files_is_the_same_model(void **state)
{
    (void)state;
    gguf_edit_write_split(gguf_edit_open(SLM_PATH), SPLIT, 3);
    costeer_model *whole = load_model(SLM_PATH);
    costeer_model *split = load_model(SPLIT_FIRST);
    const costeer_model_info *a = costeer_model_get_info(whole);
    const costeer_model_info *b = costeer_model_get_info(split);
    assert_true(a->n_params == b->n_params && a->size_bytes == b->size_bytes);
    assert_true(b->file_bytes >= b->size_bytes);
    assert_string_equal(a->vocab_sha256, b->vocab_sha256);
    costeer_model_free(split);
    costeer_model_free(whole);
}

/* llama.cpp maps the further files too: one that is cut would end the process where it is read. */
static void test_model_load__refuses_a_model_in_three_files_with_one_missing_or_wrong(void **state)
{
    (void)state;
    gguf_edit_write_split(gguf_edit_open(SLM_PATH), SPLIT, 3);
    costeer_model *model = NULL;
    costeer_error err = {0};
    assert_refused(SPLIT "-00002-of-00003.gguf", NULL, "is part 2 of 3; give the first");
    assert_int_equal(rename(SPLIT_FIRST, TMP_PATH("renamed.gguf")), 0);
    assert_refused(TMP_PATH("renamed.gguf"), NULL, "its name must end in -00001-of-00003.gguf");
    assert_int_equal(rename(TMP_PATH("renamed.gguf"), SPLIT_FIRST), 0);

    struct stat status;
    assert_int_equal(stat(SPLIT_THIRD, &status), 0);
    const size_t n_cut = (size_t)status.st_size - 1;
    copy_file(SPLIT_THIRD, TMP_PATH("part"), n_cut);
    assert_int_equal(rename(TMP_PATH("part"), SPLIT_THIRD), 0);
    assert_int_equal(costeer_model_load(SPLIT_FIRST, NULL, &model, &err), COSTEER_EMODEL);
    assert_non_null(strstr(err.message, "split-00003-of-00003.gguf: is truncated"));
    copy_file(SPLIT "-00002-of-00003.gguf", SPLIT_THIRD, SIZE_MAX);
    assert_int_equal(costeer_model_load(SPLIT_FIRST, NULL, &model, &err), COSTEER_EMODEL);
    assert_non_null(strstr(err.message, "split-00003-of-00003.gguf: is not part 3 of 3, as its name says"));
    assert_int_equal(remove(SPLIT "-00002-of-00003.gguf"), 0);
    assert_int_equal(costeer_model_load(SPLIT_FIRST, NULL, &model, &err), COSTEER_EMODEL);
    assert_non_null(strstr(err.message, "split-00002-of-00003.gguf: No such file"));
}

/* ---- what a model is --------------------------------------------------------------------------------------------- */

static void test_model_info__tells_what_the_built_in_models_are(void **state)
{
    (void)state;
    costeer_model *model = load_model(SLM_PATH);
    const costeer_model_info *info = costeer_model_get_info(model);
    struct stat status;
    assert_int_equal(stat(SLM_PATH, &status), 0);
    assert_string_equal(info->path, SLM_PATH);
    assert_string_equal(info->architecture, "llama");
    assert_int_equal(info->file_bytes, status.st_size);
    assert_true(info->size_bytes > 0 && info->size_bytes <= info->file_bytes);
    assert_true(info->n_params > 100000);
    assert_true(info->n_vocab > 256 && info->n_vocab <= info->n_vocab_padded);
    assert_true(info->n_ctx_train > 0 && info->n_embd > 0 && info->n_layer > 0);
    assert_int_equal(strlen(info->vocab_sha256), 64);
    assert_non_null(strstr(info->chat_template, "<|im_start|>"));
    costeer_model_free(model);
}

static void test_model_info__the_vocabulary_alone_gives_the_same_answers(void **state)
{
    (void)state;
    costeer_model *whole = load_model(SLM_PATH);
    costeer_model *vocabulary = NULL;
    assert_int_equal(costeer_model_load(SLM_PATH, &(costeer_model_params){.vocab_only = true}, &vocabulary, NULL), COSTEER_OK);
    const costeer_model_info *a = costeer_model_get_info(whole);
    const costeer_model_info *b = costeer_model_get_info(vocabulary);
    assert_string_equal(a->vocab_sha256, b->vocab_sha256);
    assert_string_equal(a->architecture, b->architecture);
    assert_string_equal(a->chat_template, b->chat_template);
    assert_int_equal(a->n_ctx_train, b->n_ctx_train);
    assert_int_equal(a->n_layer, b->n_layer);
    assert_int_equal(costeer_model_check_pair(whole, vocabulary, NULL), COSTEER_OK);
    costeer_model_free(whole);
    costeer_model_free(vocabulary);
}

/* ---- shared tokenizers ------------------------------------------------------------------------------------------- */

static void assert_tokenizes(const costeer_model *model)
{
    costeer_tokens tokens = {0};
    costeer_error err = {0};
    assert_ok(costeer_model_tokenize(model, "<|im_end|>", 10, false, true, &tokens, &err), &err);
    assert_int_equal(tokens.n, 1);
    assert_true(costeer_model_is_end(model, tokens.ids[0]));
    costeer_tokens_dispose(&tokens);
}

static void test_model_load__a_tokenizer_outlives_the_model_that_lent_it(void **state)
{
    (void)state;
    costeer_model *first = load_model(SLM_PATH);
    costeer_model *second = load_model(LLM_PATH);
    costeer_model *third = load_model(SLM_PATH);
    assert_string_equal(costeer_model_get_info(second)->vocab_type, costeer_model_get_info(first)->vocab_type);
    costeer_model_free(first);
    assert_tokenizes(second);
    assert_tokenizes(third);
    costeer_cloud *cloud = NULL;
    costeer_error err = {0};
    const costeer_local_params local_params = {.n_ctx = 256, .n_threads = 1};
    assert_ok(costeer_cloud_create_local(second, &local_params, &cloud, &err), &err);
    costeer_cloud_free(cloud);
    costeer_model_free(second);
    assert_tokenizes(third);
    costeer_model_free(third);
    first = load_model(LLM_PATH);
    assert_tokenizes(first);
    costeer_model_free(first);
}

static void test_model_load__a_shared_tokenizer_does_not_change_what_a_model_is(void **state)
{
    (void)state;
    gguf_edit *edit = gguf_edit_open(SLM_PATH);
    gguf_edit_append_tokens(edit, 40);
    gguf_edit_set_text(edit, "tokenizer.chat_template", "<|im_start|> of its own");
    gguf_edit_write(edit, TMP_PATH("padded.gguf"), true);
    const costeer_model_params params = {.vocab_only = true};
    costeer_model *alone = NULL;
    costeer_model *shared = NULL;
    costeer_error err = {0};
    assert_ok(costeer_model_load(TMP_PATH("padded.gguf"), &params, &alone, &err), &err);
    const costeer_model_info expected = *costeer_model_get_info(alone);
    char sha256[65];
    memcpy(sha256, expected.vocab_sha256, sizeof sha256);
    costeer_model_free(alone);
    costeer_model *lender = load_model(LLM_PATH);
    assert_ok(costeer_model_load(TMP_PATH("padded.gguf"), &params, &shared, &err), &err);
    const costeer_model_info *info = costeer_model_get_info(shared);
    assert_string_equal(info->vocab_sha256, sha256);
    assert_int_equal(info->n_vocab, expected.n_vocab);
    assert_int_equal(info->n_vocab_padded, expected.n_vocab_padded);
    assert_int_equal(info->n_vocab_padded, costeer_model_get_info(lender)->n_vocab_padded + 40);
    assert_string_equal(info->chat_template, "<|im_start|> of its own");
    assert_string_not_equal(info->name, costeer_model_get_info(lender)->name);
    assert_int_equal(info->adds_bos, expected.adds_bos);
    char piece[COSTEER_PIECE_MAX];
    assert_int_equal(costeer_model_token_to_piece(shared, info->n_vocab_padded - 1, piece), 0); /* padding has no text */
    costeer_model_free(lender);
    costeer_model_free(shared);
}

static void test_model_info__versions(void **state)
{
    (void)state;
    assert_string_equal(costeer_version(), COSTEER_VERSION);
    assert_int_equal(costeer_version_llama()[0], 'v');
}

/* ---- pairing ----------------------------------------------------------------------------------------------------- */

static costeer_model *load_vocabulary(gguf_edit *edit, const char *path)
{
    gguf_edit_write(edit, path, true);
    costeer_model *model = NULL;
    costeer_error err = {0};
    assert_ok(costeer_model_load(path, &(costeer_model_params){.vocab_only = true}, &model, &err), &err);
    return model;
}

static void test_check_pair__the_built_in_models_can_be_paired(void **state)
{
    (void)state;
    costeer_model *llm = load_model(LLM_PATH);
    costeer_model *slm = load_model(SLM_PATH);
    costeer_error err = {0};
    assert_ok(costeer_model_check_pair(llm, slm, &err), &err);
    costeer_model_free(llm);
    costeer_model_free(slm);
}

static void test_check_pair__names_the_first_token_that_differs(void **state)
{
    (void)state;
    costeer_model *llm = load_model(LLM_PATH);
    gguf_edit *edit = gguf_edit_open(SLM_PATH);
    gguf_edit_rename_token(edit, 500, "tab\there \"and\" more than forty bytes of text in one token");
    gguf_edit_rename_token(edit, 600, "later");
    costeer_model *slm = load_vocabulary(edit, TMP_PATH("renamed.gguf"));
    costeer_error err = {0};
    assert_int_equal(costeer_model_check_pair(llm, slm, &err), COSTEER_EPAIR);
    assert_non_null(strstr(err.message, "token 500 is"));
    assert_non_null(strstr(err.message, "tab\\x09here \\x22and"));
    assert_null(strstr(err.message, "one token"));
    costeer_model_free(llm);
    costeer_model_free(slm);
}

static void test_check_pair__padding_is_not_compared(void **state)
{
    (void)state;
    costeer_model *llm = load_model(LLM_PATH);
    gguf_edit *edit = gguf_edit_open(SLM_PATH);
    gguf_edit_append_tokens(edit, 40);
    costeer_model *slm = load_vocabulary(edit, TMP_PATH("padded.gguf"));
    const costeer_model_info *info = costeer_model_get_info(slm);
    assert_int_equal(info->n_vocab_padded, info->n_vocab + 40);
    costeer_error err = {0};
    assert_ok(costeer_model_check_pair(llm, slm, &err), &err);
    assert_string_equal(info->vocab_sha256, costeer_model_get_info(llm)->vocab_sha256);
    costeer_model_free(llm);
    costeer_model_free(slm);
}

static void test_check_pair__tells_both_sizes_when_one_is_longer(void **state)
{
    (void)state;
    costeer_model *llm = load_model(LLM_PATH);
    gguf_edit *edit = gguf_edit_open(SLM_PATH);
    const int32_t n = costeer_model_get_info(llm)->n_vocab;
    gguf_edit_append_tokens(edit, 3);
    gguf_edit_rename_token(edit, costeer_model_get_info(llm)->n_vocab_padded + 2, "one more");
    gguf_edit_set_token_type(edit, costeer_model_get_info(llm)->n_vocab_padded + 2, 1);
    costeer_model *slm = load_vocabulary(edit, TMP_PATH("longer.gguf"));
    costeer_error err = {0};
    char sizes[64];
    (void)snprintf(sizes, sizeof sizes, "has %d tokens and the SLM's %d", n, costeer_model_get_info(slm)->n_vocab);
    assert_int_equal(costeer_model_check_pair(llm, slm, &err), COSTEER_EPAIR);
    assert_non_null(strstr(err.message, sizes));
    costeer_model_free(llm);
    costeer_model_free(slm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_load__refuses_what_is_no_file),
        cmocka_unit_test(test_model_load__refuses_what_is_not_gguf),
        cmocka_unit_test(test_model_load__refuses_truncated_files_wherever_they_end),
        cmocka_unit_test(test_model_load__refuses_damaged_headers),
        cmocka_unit_test(test_model_load__refuses_impossible_numbers),
        cmocka_unit_test(test_model_load__refuses_other_damage_to_metadata),
        cmocka_unit_test(test_model_load__refuses_models_that_do_not_generate),
        cmocka_unit_test(test_model_load__a_vocabulary_alone_cannot_generate),
        cmocka_unit_test(test_model_load__can_be_cancelled_by_its_progress_callback),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(test_model_load__weights_that_are_used_as_they_are_take_no_memory_of_the_process),
#endif
        cmocka_unit_test(test_model_load__a_model_in_three_files_is_the_same_model),
        cmocka_unit_test(test_model_load__refuses_a_model_in_three_files_with_one_missing_or_wrong),
        cmocka_unit_test(test_model_info__tells_what_the_built_in_models_are),
        cmocka_unit_test(test_model_info__the_vocabulary_alone_gives_the_same_answers),
        cmocka_unit_test(test_model_load__a_tokenizer_outlives_the_model_that_lent_it),
        cmocka_unit_test(test_model_load__a_shared_tokenizer_does_not_change_what_a_model_is),
        cmocka_unit_test(test_model_info__versions),
        cmocka_unit_test(test_check_pair__the_built_in_models_can_be_paired),
        cmocka_unit_test(test_check_pair__names_the_first_token_that_differs),
        cmocka_unit_test(test_check_pair__padding_is_not_compared),
        cmocka_unit_test(test_check_pair__tells_both_sizes_when_one_is_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
