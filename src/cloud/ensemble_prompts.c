/*
 * Prompts, kept as texts and built on demand: which of them a method needs, and by whose vocabulary and template, is known only
 * when it is used, and a prompt that no method needs must not be able to fail. What is built is kept until the prompts change.
 */
#include "cloud/ensemble_prompts.h"

#include "core/prompt_internal.h"
#include "util/error.h"

#include <stdlib.h>
#include <string.h>

/* A prompt and the texts that it points to. */
typedef struct owned_prompt {
    costeer_prompt prompt;
    char *texts[7];
    costeer_message *turns; /* [n_turns] */
} owned_prompt;

typedef struct owned_chat {
    costeer_chat chat;
    cs_buffer first; /* the user's first message, with the context */
    costeer_message *turns;
} owned_chat;

struct cs_prompt_store {
    owned_prompt plain;
    owned_prompt amateur; /* query NULL: plain */
    owned_prompt with_all;
    owned_prompt with[COSTEER_DELTAS_MAX];
    char *templates[2]; /* of the LLM, of the SLM; NULL: the prompt's */
    int32_t n_contexts;
    int32_t max_tokens;
    costeer_tokens tokens[CS_PROMPT_SLOTS]; /* n 0: not built yet */
    owned_chat chats[2];                    /* without, with */
};

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static bool copy_text(const char *text, char **out)
{
    *out = text == NULL ? NULL : strdup(text);
    return text == NULL || *out != NULL;
}

static bool copy_ids(const costeer_message *from, costeer_message *to)
{
    if (from->n_ids == 0) {
        return true;
    }
    char *vocab;
    const bool has_vocab = copy_text(from->ids_vocab, &vocab);
    to->ids_vocab = vocab;
    int32_t *ids = malloc(from->n_ids * sizeof *ids);
    if (ids != NULL) {
        memcpy(ids, from->ids, from->n_ids * sizeof *ids);
        to->ids = ids;
        to->n_ids = from->n_ids;
    }
    return has_vocab && ids != NULL;
}

static bool copy_turns(const costeer_prompt *from, owned_prompt *to)
{
    to->turns = calloc(from->n_turns + 1, sizeof *to->turns);
    bool ok = to->turns != NULL;
    for (size_t i = 0; ok && i < from->n_turns; i++) {
        char *role;
        char *content;
        ok = copy_text(from->turns[i].role, &role);
        to->turns[i].role = role;
        ok = ok && copy_text(from->turns[i].content, &content);
        to->turns[i].content = ok ? content : NULL;
        to->prompt.n_turns = i + 1;
        ok = ok && copy_ids(&from->turns[i], &to->turns[i]);
    }
    return ok;
}

static bool copy_prompt(const costeer_prompt *from, owned_prompt *to)
{
    const bool ok = copy_text(from->system, &to->texts[0]) && copy_text(from->context, &to->texts[1]) &&
                    copy_text(from->query, &to->texts[2]) && copy_text(from->context_template, &to->texts[3]) &&
                    copy_text(from->chat_template, &to->texts[4]) && copy_text(from->answer_prefix, &to->texts[5]) &&
                    copy_text(from->query_template, &to->texts[6]);
    to->prompt = (costeer_prompt){.system = to->texts[0],
                                  .context = to->texts[1],
                                  .query = to->texts[2],
                                  .context_template = to->texts[3],
                                  .query_template = to->texts[6],
                                  .chat_template = to->texts[4],
                                  .no_default_system = from->no_default_system,
                                  .thinking = from->thinking,
                                  .answer_prefix = to->texts[5]};
    const bool has_turns = ok && copy_turns(from, to);
    to->prompt.turns = to->turns;
    return has_turns;
}

static void dispose_prompt(owned_prompt *prompt)
{
    for (size_t i = 0; prompt->turns != NULL && i < prompt->prompt.n_turns; i++) {
        free((char *)prompt->turns[i].role); /* ours */
        free((char *)prompt->turns[i].content);
        free((int32_t *)prompt->turns[i].ids);
        free((char *)prompt->turns[i].ids_vocab);
    }
    free(prompt->turns);
    for (size_t i = 0; i < sizeof prompt->texts / sizeof prompt->texts[0]; i++) {
        free(prompt->texts[i]);
    }
}

static costeer_err check(const costeer_ensemble_prompts *prompts, int32_t n_contexts, costeer_error *err)
{
    const costeer_prompt *const without[] = {&prompts->plain, &prompts->amateur};
    for (size_t i = 0; i < 2; i++) {
        if (without[i]->context != NULL && *without[i]->context != '\0') {
            return cs_error_set(err, COSTEER_EINVAL, "ensemble", "the prompt without a context has one; leave it out");
        }
    }
    if (n_contexts > 0 && prompts->with == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "ensemble", "%d prompts with a context are needed; none were given", n_contexts);
    }
    if (prompts->max_tokens < 1) {
        return cs_error_set(err, COSTEER_EINVAL, "ensemble", "max_tokens is %d; give at least 1", prompts->max_tokens);
    }
    return COSTEER_OK;
}

costeer_err cs_prompt_store_create(const costeer_ensemble_prompts *prompts, int32_t n_contexts, cs_prompt_store **out,
                                   costeer_error *err)
{
    *out = NULL;
    const costeer_err code = check(prompts, n_contexts, err);
    if (code != COSTEER_OK) {
        return code;
    }
    cs_prompt_store *store = calloc(1, sizeof *store);
    bool ok = store != NULL && copy_prompt(&prompts->plain, &store->plain) && copy_prompt(&prompts->amateur, &store->amateur) &&
              copy_prompt(&prompts->with_all, &store->with_all) && copy_text(prompts->llm_template, &store->templates[0]) &&
              copy_text(prompts->slm_template, &store->templates[1]);
    for (int32_t i = 0; ok && i < n_contexts; i++) {
        ok = copy_prompt(&prompts->with[i], &store->with[i]);
    }
    if (!ok) {
        cs_prompt_store_free(store);
        return cs_error_set(err, COSTEER_ENOMEM, "ensemble", "no memory for the prompts");
    }
    store->n_contexts = n_contexts;
    store->max_tokens = prompts->max_tokens;
    *out = store;
    return COSTEER_OK;
}

void cs_prompt_store_free(cs_prompt_store *store)
{
    if (store == NULL) {
        return;
    }
    dispose_prompt(&store->plain);
    dispose_prompt(&store->amateur);
    dispose_prompt(&store->with_all);
    for (size_t i = 0; i < COSTEER_DELTAS_MAX; i++) {
        dispose_prompt(&store->with[i]);
    }
    for (size_t i = 0; i < CS_PROMPT_SLOTS; i++) {
        costeer_tokens_dispose(&store->tokens[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        cs_buffer_dispose(&store->chats[i].first);
        free(store->chats[i].turns);
        free(store->templates[i]);
    }
    free(store);
}

int32_t cs_prompt_store_max_tokens(const cs_prompt_store *store)
{
    return store->max_tokens;
}

bool cs_prompt_store_has_with(const cs_prompt_store *store)
{
    return store->with_all.prompt.query != NULL;
}

/* ---- what is built of them --------------------------------------------------------------------------------------- */

static const costeer_prompt *prompt_of(const cs_prompt_store *store, cs_prompt_slot slot)
{
    switch (slot) {
    case CS_PROMPT_LLM:
    case CS_PROMPT_SLM:
    case CS_PROMPT_TUNED:
        return &store->plain.prompt;
    case CS_PROMPT_AMATEUR:
        return store->amateur.prompt.query != NULL ? &store->amateur.prompt : &store->plain.prompt;
    case CS_PROMPT_LLM_WITH:
    case CS_PROMPT_SLM_WITH:
        return &store->with_all.prompt;
    default:
        return &store->with[(int)slot - CS_PROMPT_CONTEXT].prompt;
    }
}

costeer_err cs_prompt_store_tokens(cs_prompt_store *store, cs_prompt_slot slot, const costeer_model *model,
                                   const costeer_tokens **out, costeer_error *err)
{
    costeer_tokens *tokens = &store->tokens[slot];
    costeer_err code = COSTEER_OK;
    if (tokens->n == 0) {
        costeer_prompt prompt = *prompt_of(store, slot);
        const char *form = store->templates[slot == CS_PROMPT_LLM || slot == CS_PROMPT_LLM_WITH ? 0 : 1];
        prompt.chat_template = form != NULL ? form : prompt.chat_template;
        code = costeer_prompt_build(model, &prompt, tokens, err);
        tokens->n = code == COSTEER_OK ? tokens->n : 0;
    }
    *out = tokens;
    return code;
}

costeer_err cs_prompt_store_contexts(cs_prompt_store *store, const costeer_model *model, const costeer_tokens **out,
                                     costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (int32_t i = 0; code == COSTEER_OK && i < store->n_contexts; i++) {
        const costeer_tokens *one;
        code = cs_prompt_store_tokens(store, (cs_prompt_slot)(CS_PROMPT_CONTEXT + i), model, &one, err);
    }
    *out = &store->tokens[CS_PROMPT_CONTEXT];
    return code;
}

/* The messages of a prompt, the user's first one with the context in it. */
static costeer_err make_chat(const costeer_prompt *prompt, owned_chat *chat, costeer_error *err)
{
    const size_t first = cs_prompt_first_user(prompt);
    const char *message = first < prompt->n_turns ? prompt->turns[first].content : prompt->query;
    chat->first.cap = CS_PROMPT_MESSAGE_BYTES_MAX;
    const costeer_err code = cs_prompt_fill_message(prompt, message, &chat->first, err);
    if (code != COSTEER_OK) {
        return code;
    }
    chat->turns = calloc(prompt->n_turns + 1, sizeof *chat->turns);
    if (chat->turns == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "ensemble", "no memory for the prompts");
    }
    for (size_t i = 0; i < prompt->n_turns; i++) {
        chat->turns[i] = prompt->turns[i];
        chat->turns[i].content = i == first ? chat->first.bytes : prompt->turns[i].content;
    }
    chat->chat = (costeer_chat){.system = prompt->system,
                                .turns = chat->turns,
                                .n_turns = prompt->n_turns,
                                .user = first < prompt->n_turns ? prompt->query : chat->first.bytes};
    return COSTEER_OK;
}

costeer_err cs_prompt_store_chat(cs_prompt_store *store, bool is_with, const costeer_chat **out, costeer_error *err)
{
    const costeer_prompt *prompt = is_with ? &store->with_all.prompt : &store->plain.prompt;
    owned_chat *chat = &store->chats[is_with];
    costeer_err code = COSTEER_OK;
    if (chat->turns == NULL) {
        code = cs_prompt_check(prompt, err);
        code = code == COSTEER_OK ? make_chat(prompt, chat, err) : code;
        if (code != COSTEER_OK) {
            cs_buffer_dispose(&chat->first);
        }
    }
    *out = &chat->chat;
    return code;
}
