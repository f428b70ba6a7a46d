/*
 * Which words of the contexts an answer has told whoever computes the LLM: those that steering put there, wholly or in part. A
 * word that the LLM would have written by itself at each of its tokens is none of them: it had that from the public text.
 */
#include "cli/disclosed.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/report.h"

#include <stdlib.h>
#include <string.h>

/* More than a person reads in a summary; all are counted. */
#define WORDS_SHOWN 12

typedef struct listing {
    const bool *changed; /* [n_bytes of the text] */
    json_t *words;
} listing;

static bool is_listed(const json_t *words, const char *word, size_t n_bytes)
{
    size_t i;
    json_t *one;
    json_array_foreach(words, i, one)
    {
        if (json_string_length(one) == n_bytes && memcmp(json_string_value(one), word, n_bytes) == 0) {
            return true;
        }
    }
    return false;
}

static bool on_word(const char *word, size_t n_bytes, size_t at, void *user)
{
    const listing *l = user;
    bool is_changed = false;
    for (size_t i = 0; i < n_bytes; i++) {
        is_changed = is_changed || l->changed[at + i];
    }
    return !is_changed || is_listed(l->words, word, n_bytes) || json_array_append_new(l->words, cs_json_text(word, n_bytes)) == 0;
}

/* For each byte of the text whether steering chose its token. The text may be cut, and then has the tokens' first bytes. */
static void mark_bytes(const costeer_model *model, const cs_cli_answer *a, bool *changed)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < a->n_tokens && n_bytes < a->text.n_bytes; i++) {
        char piece[COSTEER_PIECE_MAX];
        const size_t n = costeer_model_token_to_piece(model, a->tokens[i], piece);
        /* What is not the text is reasoning before it. */
        if (n > a->text.n_bytes - n_bytes || memcmp(piece, a->text.bytes + n_bytes, n) != 0) {
            continue;
        }
        memset(changed + n_bytes, a->changed[i] ? 1 : 0, n);
        n_bytes += n;
    }
}

/* What is public: the query, the system message, and what was said before. */
static cs_word_set *make_known(const cs_setup *setup)
{
    const cs_messages *before = &setup->inputs.conversation;
    const char **texts = calloc(before->n_turns + 2, sizeof *texts);
    if (texts == NULL) {
        return NULL;
    }
    texts[0] = setup->inputs.query;
    texts[1] = setup->settings.system != NULL ? setup->settings.system : before->system;
    for (size_t i = 0; i < before->n_turns; i++) {
        texts[i + 2] = before->turns[i].content;
    }
    cs_word_set *known = cs_word_set_create(texts, before->n_turns + 2);
    free(texts);
    return known;
}

/* The words as a JSON array; NULL when memory is out. */
static json_t *list_words(const cs_setup *setup, const costeer_model *model, const cs_cli_answer *a)
{
    bool *changed = calloc(a->text.n_bytes + 1, sizeof *changed);
    cs_word_set *secret = cs_word_set_create((const char *const *)setup->inputs.contexts, setup->inputs.n_contexts);
    cs_word_set *known = make_known(setup);
    listing l = {.changed = changed, .words = json_array()};
    bool ok = changed != NULL && secret != NULL && known != NULL && l.words != NULL;
    if (ok && a->text.n_bytes > 0) {
        mark_bytes(model, a, changed);
        ok = cs_disclosed_find(secret, known, a->text.bytes, a->text.n_bytes, on_word, &l);
    }
    cs_word_set_free(secret);
    cs_word_set_free(known);
    free(changed);
    if (!ok) {
        json_decref(l.words);
        l.words = NULL;
    }
    return l.words;
}

static bool tells(const cs_setup *setup, const cs_choice *choice)
{
    return setup->inputs.n_contexts > 0 && cs_method_is_steered(choice->method) && costeer_method_uses_llm(choice->method) &&
           !costeer_method_shows_context(choice->method);
}

int cs_report_set_words(json_t *object, const cs_setup *setup, const cs_choice *choice, const costeer_model *model,
                        const cs_cli_answer *answer)
{
    return json_object_set_new(object, "words_disclosed", tells(setup, choice) ? list_words(setup, model, answer) : json_null());
}

void cs_report_tell_words(const cs_setup *setup, const cs_choice *choice, const costeer_model *model, const cs_cli_answer *answer)
{
    const cs_settings *s = &setup->settings;
    const bool shows = !s->quiet && (s->verbose || cs_stderr_is_terminal()); /* as the summary */
    if (s->cloud == NULL || !shows || !tells(setup, choice) || answer->text.n_bytes == 0) {
        return;
    }
    json_t *words = list_words(setup, model, answer);
    cs_buffer line = {.cap = 4096};
    const size_t n = json_array_size(words);
    for (size_t i = 0; i < n && i < WORDS_SHOWN; i++) {
        const json_t *word = json_array_get(words, i);
        (void)cs_buffer_append(&line, i == 0 ? ": " : ", ", 2);
        (void)cs_buffer_append(&line, json_string_value(word), json_string_length(word));
    }
    if (n == 0) {
        cs_fail(CS_EXIT_OK, "the cloud knows no word of the context from this answer that it would not have written by itself");
    } else {
        cs_fail(CS_EXIT_OK, "the cloud now knows %zu word%s of the context%s%s", n, n == 1 ? "" : "s", line.bytes,
                n > WORDS_SHOWN ? ", ..." : "");
    }
    cs_buffer_dispose(&line);
    json_decref(words);
}
