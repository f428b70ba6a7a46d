/* A conversation: what follows its first turn costs only its own tokens, and an answer keeps the tokens that it was written with.
 */
#include "support/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static costeer_model *llm, *slm;

static int load_pair(void **state)
{
    (void)state;
    llm = load_model(LLM_PATH);
    slm = load_model(SLM_PATH);
    return 0;
}

static int free_pair(void **state)
{
    (void)state;
    costeer_model_free(slm);
    costeer_model_free(llm);
    return 0;
}

/* ---- prompts ----------------------------------------------------------------------------------------------------- */

static costeer_tokens build(const costeer_model *model, const costeer_prompt *prompt)
{
    costeer_tokens out = {0};
    costeer_error err = {0};
    assert_ok(costeer_prompt_build(model, prompt, &out, &err), &err);
    return out;
}

static costeer_tokens tokenize(const costeer_model *model, const char *text)
{
    costeer_tokens out = {0};
    costeer_error err = {0};
    assert_ok(costeer_model_tokenize(model, text, strlen(text), false, true, &out, &err), &err);
    return out;
}

/* Tokens that no tokenizer would cut the text into: a character each. */
static costeer_tokens spell(const costeer_model *model, const char *text)
{
    costeer_tokens out = {.ids = malloc(strlen(text) * sizeof *out.ids)};
    for (int32_t token = 0; text[out.n] != '\0'; token = 0) {
        char piece[COSTEER_PIECE_MAX];
        while (costeer_model_token_to_piece(model, token, piece) != 1 || piece[0] != text[out.n]) {
            assert_true(++token < costeer_model_get_info(model)->n_vocab);
        }
        out.ids[out.n++] = token;
    }
    return out;
}

static void append(costeer_tokens *to, const costeer_tokens *more)
{
    to->ids = realloc(to->ids, (to->n + more->n) * sizeof *to->ids);
    assert_non_null(to->ids);
    memcpy(to->ids + to->n, more->ids, more->n * sizeof *more->ids);
    to->n += more->n;
}

static bool is_same(const costeer_tokens *a, const costeer_tokens *b)
{
    return a->n == b->n && memcmp(a->ids, b->ids, a->n * sizeof *a->ids) == 0;
}

/* A prompt with one answered question before the query. */
static costeer_tokens build_second(const costeer_model *model, const char *form, const char *answer, const costeer_tokens *ids)
{
    const costeer_message turns[] = {{.role = "user", .content = "Say it."},
                                     {.role = "assistant", .content = answer, .ids = ids->ids, .n_ids = ids->n}};
    const costeer_prompt prompt = {.turns = turns, .n_turns = 2, .query = "Again.", .chat_template = form};
    return build(model, &prompt);
}

static void assert_answer_is_kept(const costeer_model *model, const char *form, const char *rest)
{
    static const char answer[] = "Hello there";
    costeer_tokens ids = spell(model, answer);
    costeer_tokens expected = build(model, &(costeer_prompt){.query = "Say it.", .chat_template = form});
    costeer_tokens more = tokenize(model, rest);
    costeer_tokens second = build_second(model, form, answer, &ids);
    append(&expected, &ids);
    append(&expected, &more);
    assert_true(is_same(&second, &expected));
    costeer_tokens_dispose(&ids);
    costeer_tokens_dispose(&more);
    costeer_tokens_dispose(&expected);
    costeer_tokens_dispose(&second);
}

static void test_turns__an_answer_keeps_the_tokens_it_was_written_with(void **state)
{
    (void)state;
    static const char chatml[] = "<|im_end|>\n<|im_start|>user\nAgain.<|im_end|>\n<|im_start|>assistant\n";
    assert_answer_is_kept(slm, NULL, chatml);
}

/* Tokens that do not spell the answer: of another vocabulary, of another text, or with a control token in them. */
static void test_turns__tokens_that_do_not_spell_an_answer_are_not_used(void **state)
{
    (void)state;
    static const char *const answer = "Hello there";
    const costeer_tokens none = {0};
    costeer_tokens whole = build_second(slm, NULL, answer, &none);
    costeer_tokens wrong[4] = {tokenize(slm, "Hello ther"),
                               tokenize(slm, "Hello, there"),
                               tokenize(slm, "Hello<|im_end|> there"),
                               {.ids = malloc(sizeof(int32_t)), .n = 1}};
    wrong[3].ids[0] = INT32_MAX;
    for (size_t i = 0; i < 4; i++) {
        costeer_tokens second = build_second(slm, NULL, answer, &wrong[i]);
        assert_true(is_same(&second, &whole));
        costeer_tokens_dispose(&second);
        costeer_tokens_dispose(&wrong[i]);
    }
    costeer_tokens_dispose(&whole);
}

/* A template that shows an answer in another form than it was written in: reasoning taken out, blanks cut off. */
static void test_turns__an_answer_that_the_template_changes_is_tokenized(void **state)
{
    (void)state;
    static const char form[] = "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}assistant: ";
    static const char *const answer = " Hello there";
    const costeer_tokens none = {0};
    costeer_tokens ids = spell(slm, answer);
    costeer_tokens whole = build_second(slm, form, answer, &none);
    costeer_tokens second = build_second(slm, form, answer, &ids);
    assert_true(is_same(&second, &whole));
    costeer_tokens_dispose(&ids);
    costeer_tokens_dispose(&whole);
    costeer_tokens_dispose(&second);
}

#ifdef COSTEER_TEST_VOCAB_DIR
static costeer_model *load_vocabulary(const char *name)
{
    char path[1024];
    costeer_model *model = NULL;
    costeer_error err = {0};
    (void)snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf", COSTEER_TEST_VOCAB_DIR, name);
    assert_ok(costeer_model_load(path, &(costeer_model_params){.vocab_only = true}, &model, &err), &err);
    return model;
}
#endif

static void test_turns__real_vocabularies_keep_answers_too(void **state)
{
    (void)state;
#ifdef COSTEER_TEST_VOCAB_DIR
    costeer_model *qwen = load_vocabulary("qwen2");
    assert_answer_is_kept(qwen, "chatml", "<|im_end|>\n<|im_start|>user\nAgain.<|im_end|>\n<|im_start|>assistant\n");
    costeer_model_free(qwen);
    costeer_model *llama = load_vocabulary("llama-bpe");
    assert_answer_is_kept(llama, "llama3",
                          "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAgain.<|eot_id|>"
                          "<|start_header_id|>assistant<|end_header_id|>\n\n");
    costeer_model_free(llama);
    /* SentencePiece would put a space between an answer and the text that follows it: all is tokenized in one go then. */
    costeer_model *spm = load_vocabulary("llama-spm");
    const costeer_tokens none = {0};
    costeer_tokens ids = tokenize(spm, "there");
    costeer_tokens whole = build_second(spm, "raw", " there", &none);
    costeer_tokens second = build_second(spm, "raw", " there", &ids);
    assert_true(is_same(&second, &whole));
    costeer_tokens_dispose(&ids);
    costeer_tokens_dispose(&whole);
    costeer_tokens_dispose(&second);
    costeer_model_free(spm);
#else
    print_message("COSTEER_TEST_VOCAB_DIR is not set: tests over real vocabularies are skipped\n");
    skip();
#endif
}

/* ---- what a turn costs on the device ----------------------------------------------------------------------------- */

#define MAX_TOKENS 20
#define TEXT_BYTES 8192

/* A conversation with the pair in this process, and how many prompt tokens each model has computed. */
typedef struct talk {
    costeer_ensemble *ensemble;
    size_t n_llm, n_slm; /* of the last turn */
    costeer_message turns[8];
    char texts[8][TEXT_BYTES];
    int32_t ids[8][MAX_TOKENS];
    size_t n_turns;
} talk;

static void on_prompt(const costeer_prompt_progress *progress, void *user)
{
    talk *t = user;
    size_t *n = strcmp(progress->model, "llm") == 0 ? &t->n_llm : &t->n_slm;
    *n = progress->n_all;
}

static void start(talk *t)
{
    costeer_error err = {0};
    const costeer_ensemble_params params = {.llm = llm,
                                            .slm = slm,
                                            .n_contexts = 1,
                                            .n_ctx = 1024,
                                            .n_threads_llm = 1,
                                            .n_threads_slm = 1,
                                            .on_prompt = on_prompt,
                                            .on_prompt_user = t};
    memset(t, 0, sizeof *t);
    assert_ok(costeer_ensemble_create(&params, &t->ensemble, &err), &err);
}

static void end(talk *t)
{
    costeer_ensemble_free(t->ensemble);
}

static bool add_text(const char *text, size_t n, void *user)
{
    char *to = user;
    (void)snprintf(to + strlen(to), TEXT_BYTES - strlen(to), "%.*s", (int)n, text);
    return true;
}

/* One turn; it becomes part of the conversation. */
static void say(talk *t, const char *context, const char *query)
{
    costeer_error err = {0};
    costeer_ensemble_parts parts;
    costeer_report report;
    costeer_session *session = NULL;
    char *text = t->texts[t->n_turns + 1];
    text[0] = '\0';
    costeer_prompt with = {.turns = t->turns, .n_turns = t->n_turns, .query = query};
    const costeer_ensemble_prompts prompts = {.plain = with, .with = &with, .max_tokens = MAX_TOKENS};
    with.context = context;
    assert_ok(costeer_ensemble_set_prompts(t->ensemble, &prompts, &err), &err);
    assert_ok(costeer_ensemble_use(t->ensemble, costeer_method_find("costeer"), 1.0, &parts, &err), &err);
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.max_tokens = MAX_TOKENS;
    params.on_text = add_text;
    params.user = text;
    const costeer_vocab vocab = costeer_model_vocab(parts.model);
    assert_ok(costeer_session_create(parts.cloud, parts.deltas, &vocab, &params, &session, &err), &err);
    assert_ok(costeer_session_run(session, parts.prompt, parts.n_prompt, &report, &err), &err);
    size_t n;
    const int32_t *tokens = costeer_session_tokens(session, &n);
    n -= report.finish == COSTEER_FINISH_END ? 1 : 0;
    int32_t *ids = t->ids[t->n_turns + 1];
    memcpy(ids, tokens, n * sizeof *ids);
    (void)snprintf(t->texts[t->n_turns], TEXT_BYTES, "%s", query);
    t->turns[t->n_turns] = (costeer_message){.role = "user", .content = t->texts[t->n_turns]};
    t->turns[t->n_turns + 1] = (costeer_message){.role = "assistant", .content = text, .ids = ids, .n_ids = n};
    t->n_turns += 2;
    costeer_session_free(session);
}

static size_t count_tokens(const costeer_model *model, const costeer_prompt *prompt)
{
    costeer_tokens tokens = build(model, prompt);
    const size_t n = tokens.n;
    costeer_tokens_dispose(&tokens);
    return n;
}

/* Tokens of a turn that were in no prompt and no answer before: the end of the answer, the query and the template's. */
static size_t count_new(const talk *t, const char *query)
{
    const size_t n_before = t->n_turns - 2;
    const costeer_prompt now = {.turns = t->turns, .n_turns = t->n_turns, .query = query};
    const costeer_prompt before = {.turns = t->turns, .n_turns = n_before, .query = t->turns[n_before].content};
    return count_tokens(slm, &now) - count_tokens(slm, &before) - t->turns[n_before + 1].n_ids;
}

static const char *const context = "My name is Soraya. I live in Lisbon. My favourite food is lasagna. I work as a plasterer.";
static const char *const other = "My name is Soraya. I have moved to Porto. I work as a plasterer.";

/* The last token of an answer is chosen, and not computed, where the answer ended for its length: one more then, for each model.
 */
static void assert_costs(size_t n_computed, size_t n_new, size_t n_sequences)
{
    assert_in_range(n_computed, n_new * n_sequences, (n_new + 1) * n_sequences);
}

static void test_turns__a_later_turn_computes_its_own_tokens_only(void **state)
{
    (void)state;
    static const char *const queries[] = {"Write a short bio.", "Shorter, please.", "Now as a letter.", "Thanks."};
    static talk t;
    start(&t);
    char *words = long_text(slm, 300);
    const size_t n_first = strlen(words) + strlen(queries[0]) + 2;
    char *first = malloc(n_first);
    assert_non_null(first);
    (void)snprintf(first, n_first, "%s\n%s", words, queries[0]);
    say(&t, context, first);
    assert_true(t.n_llm > 300 && t.n_slm > 300);
    for (size_t i = 1; i < 4; i++) {
        const size_t n_new = count_new(&t, queries[i]);
        assert_in_range(n_new, 5, 40);
        say(&t, context, queries[i]);
        assert_costs(t.n_llm, n_new, 1);
        assert_costs(t.n_slm, n_new, 2); /* amateur and expert */
    }
    free(words);
    free(first);
    end(&t);
}

static void test_turns__another_context_makes_only_the_expert_read_again(void **state)
{
    (void)state;
    static talk t;
    start(&t);
    say(&t, context, "Write a short bio.");
    const size_t n_new = count_new(&t, "Again, please.");
    const costeer_prompt expert = {.turns = t.turns, .n_turns = t.n_turns, .context = other, .query = "Again, please."};
    const size_t n_expert = count_tokens(slm, &expert);
    say(&t, other, "Again, please.");
    assert_costs(t.n_llm, n_new, 1);
    assert_in_range(t.n_slm, n_new, n_new + 1 + n_expert);
    assert_true(t.n_slm > n_expert / 2);
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns__an_answer_keeps_the_tokens_it_was_written_with),
        cmocka_unit_test(test_turns__tokens_that_do_not_spell_an_answer_are_not_used),
        cmocka_unit_test(test_turns__an_answer_that_the_template_changes_is_tokenized),
        cmocka_unit_test(test_turns__real_vocabularies_keep_answers_too),
        cmocka_unit_test(test_turns__a_later_turn_computes_its_own_tokens_only),
        cmocka_unit_test(test_turns__another_context_makes_only_the_expert_read_again),
    };
    return cmocka_run_group_tests(tests, load_pair, free_pair);
}
