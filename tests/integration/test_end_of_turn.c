/*
 * Every token with which a template ends an assistant's turn ends an answer: for each template of llama.cpp's tree a vocabulary
 * is made that has what the template writes right behind an answer as a control token, and the loaded model must end there.
 */
#include "support/gguf_edit.h"
#include "support/models.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VOCAB_PATH TMP_PATH("end_of_turn.gguf")

#define CONTROL      3
#define USER_DEFINED 4

static costeer_model *llm;

static int load_llm(void **state)
{
    (void)state;
    llm = load_model(LLM_PATH);
    return 0;
}

static int free_llm(void **state)
{
    (void)state;
    costeer_model_free(llm);
    return 0;
}

/* ---- vocabularies ------------------------------------------------------------------------------------------------ */

/* The id of a token, −1: there is none. */
static int32_t find_token(const costeer_model *model, const char *text)
{
    costeer_tokens tokens = {0};
    assert_int_equal(costeer_model_tokenize(model, text, strlen(text), false, true, &tokens, NULL), COSTEER_OK);
    const int32_t id = tokens.n == 1 ? tokens.ids[0] : -1;
    costeer_tokens_dispose(&tokens);
    return id;
}

/* The built-in vocabulary with more tokens and another template (NULL: none). Its own end of turn stays <|im_end|>. */
static costeer_model *load_with(const char *const *texts, size_t n, int32_t type, const char *form, const char *used)
{
    const int32_t n_vocab = costeer_model_get_info(llm)->n_vocab_padded;
    gguf_edit *edit = gguf_edit_open(LLM_PATH);
    gguf_edit_append_tokens(edit, (int32_t)n);
    for (size_t i = 0; i < n; i++) {
        gguf_edit_rename_token(edit, n_vocab + (int32_t)i, texts[i]);
        gguf_edit_set_token_type(edit, n_vocab + (int32_t)i, type);
    }
    if (form != NULL) {
        gguf_edit_set_text(edit, "tokenizer.chat_template", form);
    } else {
        gguf_edit_remove(edit, "tokenizer.chat_template");
    }
    gguf_edit_write(edit, VOCAB_PATH, true);
    costeer_model *model = NULL;
    costeer_error err = {0};
    const costeer_model_params params = {.vocab_only = true, .chat_template = used};
    assert_ok(costeer_model_load(VOCAB_PATH, &params, &model, &err), &err);
    return model;
}

static bool ends(const char *const *texts, size_t n, int32_t type, const char *form, const char *used)
{
    costeer_model *model = load_with(texts, n, type, form, used);
    const int32_t id = find_token(model, texts[0]);
    assert_true(id >= 0);
    const costeer_vocab vocab = costeer_model_vocab(model);
    const bool is_end = costeer_model_is_end(model, id);
    assert_int_equal(vocab.is_end(vocab.model, id), is_end);
    costeer_model_free(model);
    return is_end;
}

/* ---- small templates --------------------------------------------------------------------------------------------- */

#define ENDS_WITH(end) "{% for m in messages %}<{{ m.role }}>{{ m.content }}" end "{% endfor %}<assistant>"

static void test_end__is_read_from_the_files_template_or_the_one_that_is_used(void **state)
{
    (void)state;
    static const char *const token[] = {"<fin>"};
    assert_false(ends(token, 1, CONTROL, NULL, NULL));
    assert_true(ends(token, 1, CONTROL, ENDS_WITH("<fin>"), NULL));
    assert_true(ends(token, 1, CONTROL, ENDS_WITH("\n <fin>"), NULL));
    assert_true(ends(token, 1, CONTROL, NULL, ENDS_WITH("<fin>")));
    assert_true(ends(token, 1, CONTROL, ENDS_WITH("<fin>"), ENDS_WITH("<|im_end|>")));
    assert_true(ends(token, 1, CONTROL, ENDS_WITH("<fin>"), "raw"));
    assert_false(ends(token, 1, CONTROL, ENDS_WITH("<|im_end|>"), "chatml"));
}

static void test_end__is_what_stands_right_behind_the_answer(void **state)
{
    (void)state;
    static const char *const token[] = {"<fin>"};
    static const char *const both[] = {"<fin>", "<fin2>"};
    assert_false(ends(token, 1, CONTROL, ENDS_WITH(" so. <fin>"), NULL));
    assert_false(ends(both, 2, CONTROL, ENDS_WITH("<fin2><fin>"), NULL));
    assert_true(ends(both, 2, CONTROL, ENDS_WITH("<fin><fin2>"), NULL));
}

static void test_end__nothing_is_added_where_an_end_stands_there_or_the_token_is_text(void **state)
{
    (void)state;
    static const char *const token[] = {"<fin>"};
    assert_false(ends(token, 1, CONTROL, ENDS_WITH("<fin><|im_end|>"), NULL));
    assert_false(ends(token, 1, USER_DEFINED, ENDS_WITH("<fin>"), NULL));
}

static void test_end__a_template_that_cannot_be_used_adds_nothing(void **state)
{
    (void)state;
    static const char *const token[] = {"<fin>"};
    assert_false(ends(token, 1, CONTROL, "{{ unfinished <fin>", NULL));
    assert_false(ends(token, 1, CONTROL, "{{ raise_exception('<fin>') }}", NULL));
    assert_false(ends(token, 1, CONTROL, "{{ 'x' * 100000000000 }}<fin>", NULL));
    assert_false(ends(token, 1, CONTROL, "<fin>{{ messages[0].content }}<fin>", NULL));
    assert_false(ends(token, 1, CONTROL, NULL, "nonsense"));
}

/* ---- real templates ---------------------------------------------------------------------------------------------- */

#ifdef COSTEER_TEST_VOCAB_DIR
#define FOLDER COSTEER_TEST_VOCAB_DIR "/templates"

/* Templates that write no token behind an answer. */
static const char *const without_end[] = {"llama-cpp-rwkv-world.jinja"}; /* an empty line; the next turn is the text "User:" */

/* Templates that render nothing without tools, in Jinja2 as here: no prompt is made with them. */
static const char *const only_for_tools[] = {
    "CohereForAI-c4ai-command-r-plus-tool_use.jinja",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja",
};

/* Those whose token llama.cpp does not know by its spelling: without the file's word for it they would not end. */
static const char *const unknown_to_llama_cpp[] = {
    "Apertus-8B-Instruct.jinja",
    "ByteDance-Seed-OSS.jinja",
    "Cohere2MoE.jinja",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja",
    "GLM-4.6.jinja",
    "GLM-4.7-Flash.jinja",
    "GigaChat3-10B-A1.8B.jinja",
    "GigaChat3.1-10B-A1.8B.jinja",
    "Kimi-K3.jinja",
    "MiniMax-M1.jinja",
    "NVIDIA-Nemotron-Nano-v2.jinja",
    "Reka-Edge.jinja",
    "inclusionai-ling-3.0-flash.jinja",
    "muse-glimmer.jinja",
    "poolside-Laguna-S-2.1.jinja",
    "poolside-Laguna-XS-2.1.jinja",
    "poolside-Laguna-XS.2.jinja",
    "tencent-Hy3.jinja",
};

#define N(list) (sizeof(list) / sizeof(list)[0])

static bool is_in(const char *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static char *read_template(const char *name)
{
    char path[1024];
    (void)snprintf(path, sizeof path, FOLDER "/%s", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = calloc(1, 65536);
    assert_non_null(text);
    const size_t n = fread(text, 1, 65535, file);
    (void)fclose(file);
    assert_true(n > 0);
    return text;
}

/* What looks like a control token where text begins, blanks left aside: "<…>", "[…]", or MiniMax's "[e~[". "": nothing does. */
static void copy_token(const char *text, char token[64])
{
    static const char minimax[] = "[e~[";
    text += strspn(text, " \n");
    const char closing = *text == '<' ? '>' : (*text == '[' ? ']' : '\0');
    const char *end = closing != '\0' ? strchr(text, closing) : NULL;
    size_t n = end != NULL ? (size_t)(end - text) + 1 : 0;
    n = strncmp(text, minimax, strlen(minimax)) == 0 ? strlen(minimax) : n;
    assert_true(n < 64);
    memcpy(token, text, n);
    token[n] = '\0';
}

/* What a template writes right behind an answer; "": no token. False: it renders nothing. */
static bool find_end(const char *form, char token[64])
{
    static const costeer_message turns[] = {{.role = "user", .content = "Hi"}, {.role = "assistant", .content = "THE-ANSWER"}};
    const costeer_prompt prompt = {.turns = turns, .n_turns = 2, .query = "Bye", .chat_template = form};
    costeer_prompt_text text = {0};
    costeer_error err = {0};
    if (costeer_prompt_render(llm, &prompt, &text, &err) != COSTEER_OK) {
        return false;
    }
    const char *answer = strstr(text.text, "THE-ANSWER");
    assert_non_null(answer);
    copy_token(answer + strlen("THE-ANSWER"), token);
    costeer_prompt_text_dispose(&text);
    return true;
}

static void check_template(const char *name, size_t *n_unknown)
{
    char token[64];
    char *form = read_template(name);
    if (!find_end(form, token)) {
        if (!is_in(only_for_tools, N(only_for_tools), name)) {
            fail_msg("%s: renders no conversation", name);
        }
    } else if (token[0] == '\0') {
        if (!is_in(without_end, N(without_end), name)) {
            fail_msg("%s: no end of turn in it", name);
        }
    } else {
        const char *const tokens[] = {token};
        const size_t n_more = find_token(llm, token) < 0 ? 1 : 0;
        costeer_model *model = load_with(tokens, n_more, CONTROL, form, NULL);
        if (!costeer_model_is_end(model, find_token(model, token))) {
            fail_msg("%s: %s does not end an answer", name, token);
        }
        costeer_model_free(model);
        model = load_with(tokens, n_more, CONTROL, NULL, NULL);
        const bool is_known = costeer_model_is_end(model, find_token(model, token));
        costeer_model_free(model);
        if (is_known == is_in(unknown_to_llama_cpp, N(unknown_to_llama_cpp), name)) {
            fail_msg("%s: %s is %s llama.cpp by its spelling", name, token, is_known ? "known to" : "unknown to");
        }
        *n_unknown += is_known ? 0 : 1;
    }
    free(form);
}

static void test_templates__every_end_of_turn_ends_an_answer(void **state)
{
    (void)state;
    DIR *folder = opendir(FOLDER);
    assert_non_null(folder);
    size_t n = 0;
    size_t n_unknown = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        const char *suffix = strstr(entry->d_name, ".jinja");
        if (suffix != NULL) {
            check_template(entry->d_name, &n_unknown);
            n++;
        }
    }
    (void)closedir(folder);
    assert_int_equal(n, 70);
    assert_int_equal(n_unknown, N(unknown_to_llama_cpp));
}

/* <|end|> ends a channel there, and a reasoning is one: llama.cpp takes it off its list where the vocabulary has these others. */
static void test_templates__a_token_that_ends_a_channel_only_does_not(void **state)
{
    (void)state;
    static const char *const gpt_oss[] = {"<|end|>", "<|return|>", "<|call|>", "<|start|>", "<|message|>", "<|channel|>"};
    static const char *const solar[] = {"<|end|>", "<|flush|>", "<|calls|>"};
    char *form = read_template("openai-gpt-oss-120b.jinja");
    assert_false(ends(gpt_oss, N(gpt_oss), CONTROL, form, NULL));
    costeer_model *model = load_with(gpt_oss, N(gpt_oss), CONTROL, form, NULL);
    assert_true(costeer_model_is_end(model, find_token(model, "<|return|>")));
    assert_false(costeer_model_is_end(model, find_token(model, "<|start|>")));
    costeer_model_free(model);
    free(form);
    form = read_template("upstage-Solar-Open-100B.jinja");
    assert_false(ends(solar, N(solar), CONTROL, form, NULL));
    free(form);
}
#else
static void test_templates__skipped_without_the_templates(void **state)
{
    (void)state;
    print_message("COSTEER_TEST_VOCAB_DIR is not set: the templates of llama.cpp's tree are not looked at\n");
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end__is_read_from_the_files_template_or_the_one_that_is_used),
        cmocka_unit_test(test_end__is_what_stands_right_behind_the_answer),
        cmocka_unit_test(test_end__nothing_is_added_where_an_end_stands_there_or_the_token_is_text),
        cmocka_unit_test(test_end__a_template_that_cannot_be_used_adds_nothing),
#ifdef COSTEER_TEST_VOCAB_DIR
        cmocka_unit_test(test_templates__every_end_of_turn_ends_an_answer),
        cmocka_unit_test(test_templates__a_token_that_ends_a_channel_only_does_not),
#else
        cmocka_unit_test(test_templates__skipped_without_the_templates),
#endif
    };
    return cmocka_run_group_tests(tests, load_llm, free_llm);
}
