/*
 * Prompts as tokens.
 *
 * A rendered prompt is tokenized in one go, exactly as llama.cpp's own programs do, unless a message spells a special token: then
 * the template's own parts are read with their special tokens and the messages without, so that a pasted "<|im_end|>" cannot end
 * the user's turn.
 *
 * An answer of an earlier turn keeps the tokens that it was written with: text that is tokenized again can be cut otherwise, and
 * then nothing of what was computed for it could be used.
 */
#include "core/model_internal.h"
#include "core/prompt_internal.h"
#include "util/error.h"

#include <stdlib.h>
#include <string.h>

/* Special tokens after which a text is cut: few enough to be divided at once, and more than most prompts have. */
#define PIECE_SPECIAL_MAX 256

static costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "prompt", "no memory for the prompt");
}

/* ---- lists of tokens --------------------------------------------------------------------------------------------- */

void costeer_tokens_dispose(costeer_tokens *tokens)
{
    if (tokens != NULL) {
        free(tokens->ids);
        *tokens = (costeer_tokens){0};
    }
}

bool cs_tokens_reserve(costeer_tokens *tokens, size_t n)
{
    if (n <= tokens->capacity) {
        return true;
    }
    int32_t *grown = realloc(tokens->ids, n * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    tokens->ids = grown;
    tokens->capacity = n;
    return true;
}

static costeer_err append_tokens(costeer_tokens *out, const costeer_tokens *more, costeer_error *err)
{
    if (out->n + more->n > out->capacity && !cs_tokens_reserve(out, 2 * (out->n + more->n))) {
        return no_memory(err);
    }
    if (more->n > 0) {
        memcpy(out->ids + out->n, more->ids, more->n * sizeof *more->ids);
        out->n += more->n;
    }
    return COSTEER_OK;
}

static costeer_err append_piece(const costeer_model *model, const char *text, size_t n, bool parse_special, costeer_tokens *out,
                                costeer_error *err)
{
    costeer_tokens part = {0};
    costeer_err code = n == 0 ? COSTEER_OK : costeer_model_tokenize(model, text, n, false, parse_special, &part, err);
    code = code == COSTEER_OK ? append_tokens(out, &part, err) : code;
    costeer_tokens_dispose(&part);
    return code;
}

/* ---- long texts -------------------------------------------------------------------------------------------------- */

/* A place before a special token where a text can be cut, once what follows is seen. end 0: there is none. */
typedef struct cut {
    size_t at;
    size_t end; /* of the token */
} cut;

/*
 * llama.cpp divides a text at its special tokens, the longest ones first, and reads what is between them apart from each other;
 * the time that dividing takes grows with the square of their number. So a text that has many is cut before some of them, where
 * no other special token overlaps: there it is divided anyway, and the tokens are the same.
 */
static costeer_err append_text(const costeer_model *model, const char *text, size_t n, bool parse_special, costeer_tokens *out,
                               costeer_error *err)
{
    size_t begin = 0;     /* of what is not read yet */
    size_t reach = 0;     /* end of all special tokens so far */
    size_t n_special = 0; /* since `begin` */
    cut next = {.end = 0};
    size_t from = 0;
    size_t offset;
    int32_t token;
    costeer_err code = COSTEER_OK;
    while (code == COSTEER_OK && from < n && cs_model_find_special(model, text + from, n - from, &offset, &token)) {
        const size_t at = from + offset;
        const size_t end = at + strlen(cs_model_token_text(model, token));
        if (next.end > 0 && at >= next.end && n_special >= PIECE_SPECIAL_MAX) {
            code = append_piece(model, text + begin, next.at - begin, parse_special, out, err);
            begin = next.at;
            n_special = 0;
        }
        const bool is_parsed = parse_special || cs_model_is_always_parsed(model, token);
        if (at >= next.end || end > next.end) { /* not inside the token at the cut: a new cut, or it spoils that one */
            next.at = at;
            next.end = at >= reach && is_parsed && !cs_model_token_traits(model, token).takes_blanks ? end : 0;
        }
        reach = end > reach ? end : reach;
        n_special++;
        from = at + 1;
    }
    return code == COSTEER_OK ? append_piece(model, text + begin, n - begin, parse_special, out, err) : code;
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

/* What the template wrote, as one text, to see which tokens it uses. */
static bool join_template(const cs_chat_rendering *rendering, cs_buffer *out)
{
    const char *text = rendering->text;
    bool ok = true;
    for (size_t i = 0; ok && i < rendering->n_parts; i++) {
        ok = rendering->parts[i].is_input ||
             (cs_buffer_append(out, text, rendering->parts[i].n_bytes) && cs_buffer_append(out, "\n", 1));
        text += rendering->parts[i].n_bytes;
    }
    return ok && cs_buffer_append(out, "", 0);
}

/* Whether a message must not have a token that llama.cpp reads everywhere: one that the template uses. Blanks mark nothing. */
static bool is_marker(const costeer_model *model, const char *of_template, int32_t token)
{
    const char *spelling = cs_model_token_text(model, token);
    return spelling[strspn(spelling, " \t\n\v\f\r")] != '\0' && strstr(of_template, spelling) != NULL;
}

/*
 * Append a message that spells special tokens. llama.cpp's parse_special = false reads control tokens as text but still reads
 * user-defined ones, and some converters mark the turn markers as those: the ones that the template uses are cut in two.
 */
static costeer_err append_message(const costeer_model *model, const char *of_template, const char *text, size_t n,
                                  costeer_tokens *out, costeer_error *err)
{
    size_t begin = 0;
    size_t from = 0;
    size_t at;
    int32_t token;
    while (from < n && cs_model_find_special(model, text + from, n - from, &at, &token)) {
        from += at + 1;
        if (cs_model_is_always_parsed(model, token) && is_marker(model, of_template, token)) {
            const costeer_err code = append_text(model, text + begin, from - begin, false, out, err);
            if (code != COSTEER_OK) {
                return code;
            }
            begin = from;
        }
    }
    return append_text(model, text + begin, n - begin, false, out, err);
}

/* True when the text reads as a special token somewhere outside the template's parts: a control token, or one that the template
 * uses. */
static bool reads_special(const costeer_model *model, const cs_chat_rendering *rendering, const char *of_template)
{
    size_t part = 0;
    size_t part_end = rendering->n_parts > 0 ? rendering->parts[0].n_bytes : 0;
    size_t from = 0;
    size_t at;
    int32_t token;
    while (from < rendering->n_bytes &&
           cs_model_find_special(model, rendering->text + from, rendering->n_bytes - from, &at, &token)) {
        const char *spelling = cs_model_token_text(model, token);
        const size_t begin = from + at;
        while (begin >= part_end) {
            part_end += rendering->parts[++part].n_bytes;
        }
        const bool is_templates = !rendering->parts[part].is_input && begin + strlen(spelling) <= part_end;
        if (!is_templates && (!cs_model_is_always_parsed(model, token) || is_marker(model, of_template, token))) {
            return true;
        }
        from = begin + (is_templates ? strlen(spelling) : 1);
    }
    return false;
}

static costeer_err append_parts(const costeer_model *model, const cs_chat_rendering *rendering, const char *of_template,
                                costeer_tokens *out, costeer_error *err)
{
    const char *text = rendering->text;
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < rendering->n_parts && code == COSTEER_OK; i++) {
        const cs_chat_part *part = &rendering->parts[i];
        code = part->is_input ? append_message(model, of_template, text, part->n_bytes, out, err)
                              : append_text(model, text, part->n_bytes, true, out, err);
        text += part->n_bytes;
    }
    return code;
}

/* Put BOS at the front where the model wants it and the template did not write it. */
static costeer_err add_bos(const costeer_model *model, costeer_tokens *out, costeer_error *err)
{
    int32_t bos = cs_model_bos(model);
    if (bos < 0 || (out->n > 0 && out->ids[0] == bos)) {
        return COSTEER_OK;
    }
    const costeer_tokens one = {.ids = &bos, .n = 1};
    const costeer_err code = append_tokens(out, &one, err);
    if (code == COSTEER_OK) {
        memmove(out->ids + 1, out->ids, (out->n - 1) * sizeof *out->ids);
        out->ids[0] = bos;
    }
    return code;
}

/* How a rendering, or whole parts of it, is read. */
typedef struct reading {
    const costeer_model *model;
    const char *of_template; /* NULL: no template, nothing is special */
} reading;

static costeer_err tokenize_parts(const reading *r, const cs_chat_rendering *parts, costeer_tokens *out, costeer_error *err)
{
    if (r->of_template != NULL && reads_special(r->model, parts, r->of_template)) {
        return append_parts(r->model, parts, r->of_template, out, err);
    }
    return append_text(r->model, parts->text, parts->n_bytes, r->of_template != NULL, out, err);
}

/* ---- answers of earlier turns ------------------------------------------------------------------------------------ */

size_t costeer_prompt_count_spelled(const costeer_model *model, const int32_t *ids, size_t n_ids, const char *text)
{
    size_t left = strlen(text);
    size_t i = 0;
    for (; i < n_ids && left > 0; i++) {
        char piece[COSTEER_PIECE_MAX];
        const size_t n = costeer_model_token_to_piece(model, ids[i], piece);
        if (n == 0 || n > left || memcmp(text, piece, n) != 0) {
            return 0;
        }
        text += n;
        left -= n;
    }
    return left == 0 ? i : 0;
}

static bool is_vocab_of(const costeer_message *message, const costeer_model *model)
{
    return message->ids_vocab == NULL || strcmp(message->ids_vocab, costeer_model_get_info(model)->vocab_sha256) == 0;
}

/* Tokens that claim to be this vocabulary's are. */
static costeer_err check_ids(const costeer_model *model, const costeer_prompt *prompt, costeer_error *err)
{
    for (size_t i = 0; i < prompt->n_turns; i++) {
        const costeer_message *turn = &prompt->turns[i];
        if (turn->n_ids > 0 && turn->ids_vocab != NULL && is_vocab_of(turn, model) &&
            costeer_prompt_count_spelled(model, turn->ids, turn->n_ids, turn->content) == 0) {
            return cs_error_set(err, COSTEER_EINVAL, "prompt",
                                "message %zu: its tokens do not spell its content; leave its tokens out", i + 1);
        }
    }
    return COSTEER_OK;
}

/* The tokens of the turn that this part of a rendering is, n 0: none that are known. Parts come in the order of turns: those
 * before
 * `*turn` have had theirs. */
static costeer_tokens find_answer(const costeer_model *model, const costeer_prompt *prompt, size_t *turn, const char *text,
                                  size_t n)
{
    for (size_t i = *turn; i < prompt->n_turns; i++) {
        const costeer_message *message = &prompt->turns[i];
        if (strncmp(message->content, text, n) != 0 || message->content[n] != '\0') {
            continue;
        }
        *turn = i + 1;
        const size_t n_spelled = message->n_ids == 0 || !is_vocab_of(message, model)
                                     ? 0
                                     : costeer_prompt_count_spelled(model, message->ids, message->n_ids, message->content);
        return (costeer_tokens){.ids = (int32_t *)message->ids, .n = n_spelled}; /* only read */
    }
    return (costeer_tokens){.n = 0};
}

/* Tokenizers of some models put a space before a text that begins without a control token. */
static bool has_space_added(const costeer_model *model, const cs_chat_rendering *parts, const costeer_tokens *tokens,
                            size_t first)
{
    char piece[COSTEER_PIECE_MAX];
    return first < tokens->n && costeer_model_token_to_piece(model, tokens->ids[first], piece) > 0 && piece[0] == ' ' &&
           parts->text[0] != ' ';
}

/* Tokenize what stands between answers, and take these as they are. `is_natural` false: the result must not be used. */
static costeer_err tokenize_between(const reading *r, const costeer_prompt *prompt, const cs_chat_rendering *rendering,
                                    costeer_tokens *out, bool *is_natural, costeer_error *err)
{
    cs_chat_rendering between = {.text = rendering->text, .parts = rendering->parts};
    costeer_err code = COSTEER_OK;
    size_t turn = 0;
    *is_natural = true;
    for (size_t i = 0; i <= rendering->n_parts && code == COSTEER_OK; i++) {
        const cs_chat_part *part = i < rendering->n_parts ? &rendering->parts[i] : NULL;
        char *text = between.text + between.n_bytes;
        costeer_tokens answer = {.n = 0};
        if (part != NULL && part->is_input) {
            answer = find_answer(r->model, prompt, &turn, text, part->n_bytes);
        }
        if (part != NULL && answer.n == 0) {
            between.n_parts++;
            between.n_bytes += part->n_bytes;
            continue;
        }
        const size_t first = out->n;
        code = between.n_bytes > 0 ? tokenize_parts(r, &between, out, err) : COSTEER_OK;
        *is_natural = *is_natural && (first == 0 || !has_space_added(r->model, &between, out, first));
        if (part != NULL && code == COSTEER_OK) {
            code = append_tokens(out, &answer, err);
            between = (cs_chat_rendering){.text = text + part->n_bytes, .parts = rendering->parts + i + 1};
        }
    }
    return code;
}

static costeer_err tokenize(const reading *r, const costeer_prompt *prompt, const cs_chat_rendering *rendering,
                            costeer_tokens *out, costeer_error *err)
{
    bool is_natural;
    costeer_err code = tokenize_between(r, prompt, rendering, out, &is_natural, err);
    if (code == COSTEER_OK && !is_natural) {
        out->n = 0;
        code = tokenize_parts(r, rendering, out, err);
    }
    return code == COSTEER_OK ? add_bos(r->model, out, err) : code;
}

costeer_err costeer_prompt_build(const costeer_model *model, const costeer_prompt *prompt, costeer_tokens *out,
                                 costeer_error *err)
{
    if (model == NULL || prompt == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "prompt", "model, prompt and out must not be NULL");
    }
    out->n = 0;
    cs_prompt_parts parts = {.system = NULL};
    cs_buffer of_template = {.cap = 2 * CS_PROMPT_MESSAGE_BYTES_MAX};
    costeer_err code = cs_prompt_parts_make(model, prompt, &parts, err);
    code = code == COSTEER_OK ? check_ids(model, prompt, err) : code;
    if (code == COSTEER_OK && !join_template(&parts.rendering, &of_template)) {
        code = no_memory(err);
    }
    if (code == COSTEER_OK) {
        const bool is_raw = prompt->chat_template != NULL && strcmp(prompt->chat_template, "raw") == 0;
        const reading r = {.model = model, .of_template = is_raw ? NULL : of_template.bytes};
        code = tokenize(&r, prompt, &parts.rendering, out, err);
    }
    cs_buffer_dispose(&of_template);
    cs_prompt_parts_dispose(&parts);
    return code;
}
