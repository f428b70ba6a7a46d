/*
 * The SLM follows the text of the answer, and says how likely the text is to go on with each of the LLM's tokens.
 *
 * The text is split by the SLM's own tokenizer (translate_text.c). What follows it is a sum over the ways in which the SLM may
 * have come to where it ends (docs/vocabularies.md). At the end of its tokens any token may follow; at an earlier place the SLM
 * may as well have taken a token that covers the rest of the text and goes on. Ways that are no split of the text so far but
 * likely are looked at too: "▁Mar" is one token, "▁Martin" may be "▁M","art","in". And where the SLM is likely to say less than
 * an LLM's token says, it is asked what it would say behind that, or "▁Ma" would be as likely as any word with "▁M". Which ways
 * are likely is for the experts to say; all sequences are asked along the same ones, so that only what the context does is left
 * in the difference.
 */
#include "core/translate_byte.h"

#include "core/translate_text.h"
#include "core/translate_tree.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Places of the text that are kept: words have fewer tokens, and the other half of the tree is for ways. */
#define TEXT_PLACES_MAX 8

/* Ways looked at besides the text's tokens, at each position: each costs a batch unless it was looked at before. */
#define WAYS_MAX 6

/* What is less likely than this, given the text, is not worth one. */
#define WAY_MIN 0.05

/* The experts have nothing to say in the middle of a character whose first bytes they hold for less likely than this: they have
 * hardly ever seen what they are asked about, and an ö would become anything. */
#define CHARACTER_MIN 0.01

/* Places of less weight than exp(this), against the likeliest, add nothing that a float could show. */
#define WEIGHT_MIN (-30.0)

/* A way behind which more strings go on than this is not followed: summing over them would take longer than a step. */
#define LONGER_MAX 4096

/* Tokens looked at behind a place, the likeliest first, until one is found behind which it is worth to look. */
#define TRIES_MAX 4

struct cs_translate_byte {
    const costeer_vocab_map *map;
    const costeer_model *model;
    cs_text_tokens *text;
    cs_tree *tree;
    cs_vocab_mass *mass;
    int32_t n_llm;
    int32_t n_slm;
    int32_t n_sequences;
    bool is_mute[1 + COSTEER_DELTAS_MAX]; /* experts of weight 0: they must not change what the others say */
    bool is_ready;
    int32_t at_end; /* the place behind all of the text's tokens */
    float *scratch; /* [n_slm] a row without what is counted elsewhere */
    float *out;     /* [n_sequences][n_llm] */
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

costeer_err cs_translate_byte_create(const cs_translate_params *params, cs_translate_byte **out, costeer_error *err)
{
    *out = NULL;
    cs_translate_byte *byte = calloc(1, sizeof *byte);
    if (byte != NULL) {
        byte->map = params->map;
        byte->model = params->model;
        byte->n_llm = cs_vocab_map_n_llm(params->map);
        byte->n_slm = cs_vocab_map_n_slm(params->map);
        byte->n_sequences = params->n_sequences;
        byte->scratch = malloc((size_t)byte->n_slm * sizeof *byte->scratch);
        byte->out = malloc((size_t)byte->n_sequences * (size_t)byte->n_llm * sizeof *byte->out);
    }
    if (byte == NULL || byte->scratch == NULL || byte->out == NULL) {
        cs_translate_byte_free(byte);
        return cs_error_set(err, COSTEER_ENOMEM, "slm", "no memory for its state");
    }
    const size_t n_ctx = (size_t)cs_decoder_n_ctx(params->decoder);
    costeer_err code = cs_text_tokens_create(params->model, n_ctx, &byte->text, err);
    code = code == COSTEER_OK ? cs_tree_create(params->decoder, byte->n_sequences, byte->n_slm, &byte->tree, err) : code;
    code = code == COSTEER_OK ? cs_vocab_mass_create(params->map, &byte->mass, err) : code;
    if (code != COSTEER_OK) {
        cs_translate_byte_free(byte);
        return code;
    }
    *out = byte;
    return COSTEER_OK;
}

void cs_translate_byte_free(cs_translate_byte *byte)
{
    if (byte != NULL) {
        cs_text_tokens_free(byte->text);
        cs_tree_free(byte->tree);
        cs_vocab_mass_free(byte->mass);
        free(byte->scratch);
        free(byte->out);
        free(byte);
    }
}

/* ---- places and the text ----------------------------------------------------------------------------------------- */

static cs_tree_node *node_of(const cs_translate_byte *byte, int32_t place)
{
    return cs_tree_nodes(byte->tree) + place;
}

static size_t length_of(const cs_translate_byte *byte, int32_t token, char piece[COSTEER_PIECE_MAX])
{
    return costeer_model_token_to_piece(byte->model, token, piece);
}

/* True when the token before a place says what the text says, as far as the text goes. */
static bool agrees(const cs_translate_byte *byte, const cs_tree_node *node)
{
    char piece[COSTEER_PIECE_MAX];
    const size_t length = length_of(byte, node->token, piece);
    size_t n;
    const char *text = node->end < 0 ? NULL : cs_text_tokens_from(byte->text, node->end - (int64_t)length, &n);
    if (text == NULL) {
        return node->end > cs_text_tokens_size(byte->text) + (int64_t)length; /* all of it is beyond the text's end */
    }
    return memcmp(piece, text, n < length ? n : length) == 0;
}

/* Whether a place is one of the text's; if its way has changed it is none at all. */
static bool check_text(const cs_translate_byte *byte, cs_tree_node *node, size_t n_unchanged)
{
    size_t n;
    const int32_t *tokens = cs_text_tokens_get(byte->text, &n);
    if (node->parent < 0 && node->depth > n_unchanged + 1) {
        return false;
    }
    const bool follows_text = node->parent < 0 || node_of(byte, node->parent)->is_text;
    node->is_text = follows_text && node->depth <= n && (node->depth == 0 || tokens[node->depth - 1] == node->token);
    if (node->is_text) {
        node->end = cs_text_tokens_end(byte->text, node->depth);
    }
    return true;
}

/* Nothing behind a place can go on beyond the text. */
static bool is_too_far_back(const cs_translate_byte *byte, const cs_tree_node *node)
{
    return node->end >= 0 && cs_text_tokens_size(byte->text) - node->end >= (int64_t)cs_text_tokens_longest(byte->text);
}

static void drop_all(cs_translate_byte *byte)
{
    for (int32_t i = 0; i < CS_TREE_NODES; i++) {
        node_of(byte, i)->is_used = false;
    }
}

/* Forget places that the text has left. */
static void prune(cs_translate_byte *byte, size_t n_unchanged)
{
    size_t deepest = 0;
    for (int32_t i = 0; i < CS_TREE_NODES; i++) {
        deepest = node_of(byte, i)->is_used && node_of(byte, i)->depth > deepest ? node_of(byte, i)->depth : deepest;
    }
    for (size_t depth = 0; depth <= deepest; depth++) { /* what a place is depends on the one before it */
        for (int32_t i = 0; i < CS_TREE_NODES; i++) {
            cs_tree_node *node = node_of(byte, i);
            if (!node->is_used || node->depth != depth) {
                continue;
            }
            if (!check_text(byte, node, n_unchanged)) {
                drop_all(byte);
                return;
            }
            if (!node->is_text && (!agrees(byte, node) || is_too_far_back(byte, node))) {
                cs_tree_drop(byte->tree, i);
            }
        }
    }
}

/* The last place of the text, and the first; −1: none. */
static int32_t find_text(const cs_translate_byte *byte, bool wants_first)
{
    int32_t found = -1;
    for (int32_t i = 0; i < CS_TREE_NODES; i++) {
        const cs_tree_node *node = node_of(byte, i);
        if (node->is_used && node->is_text &&
            (found < 0 ||
             (wants_first ? node->depth < node_of(byte, found)->depth : node->depth > node_of(byte, found)->depth))) {
            found = i;
        }
    }
    return found;
}

static int count_text(const cs_translate_byte *byte)
{
    int n = 0;
    for (int32_t i = 0; i < CS_TREE_NODES; i++) {
        n += node_of(byte, i)->is_used && node_of(byte, i)->is_text;
    }
    return n;
}

/* The text's first places are of no use once nothing behind them reaches its end; some more are left to make room for ways. */
static void drop_beginning(cs_translate_byte *byte)
{
    int32_t first = find_text(byte, true);
    while (first != byte->at_end && (is_too_far_back(byte, node_of(byte, first)) || count_text(byte) > TEXT_PLACES_MAX)) {
        cs_tree_drop(byte->tree, first);
        first = find_text(byte, true);
    }
}

/* Let there be a place behind all of the text's tokens. */
static costeer_err follow(cs_translate_byte *byte, costeer_error *err)
{
    size_t n;
    const int32_t *tokens = cs_text_tokens_get(byte->text, &n);
    int32_t last = find_text(byte, false);
    size_t n_before = last < 0 ? n - (n < CS_TREE_ROWS ? n : CS_TREE_ROWS) : node_of(byte, last)->depth;
    if (last < 0 && n == 0) {
        return cs_error_set(err, COSTEER_EINTERNAL, "slm", "what was computed of the answer is lost; begin it again");
    }
    if (n - n_before > CS_TREE_ROWS) {
        drop_all(byte);
        last = -1;
    }
    byte->at_end = last;
    if (n_before == n) {
        return COSTEER_OK;
    }
    const costeer_err code =
        cs_tree_extend(byte->tree, tokens, n_before, last, tokens + n_before, n - n_before, &byte->at_end, err);
    for (int32_t i = byte->at_end; code == COSTEER_OK && i >= 0 && i != last; i = node_of(byte, i)->parent) {
        node_of(byte, i)->is_text = true;
        node_of(byte, i)->end = cs_text_tokens_end(byte->text, node_of(byte, i)->depth);
    }
    return code;
}

/* ---- probabilities ----------------------------------------------------------------------------------------------- */

static double log_probability(const cs_translate_byte *byte, int32_t place, int32_t token, int32_t s)
{
    return (double)cs_tree_row(byte->tree, place, s)[token] - cs_tree_normaliser(byte->tree, place, s);
}

/* Log of the probability of the tokens to a place, from the first place on. */
static double log_weight(const cs_translate_byte *byte, int32_t place, int32_t s)
{
    double sum = 0.0;
    for (int32_t i = place; node_of(byte, i)->parent >= 0; i = node_of(byte, i)->parent) {
        sum += log_probability(byte, node_of(byte, i)->parent, node_of(byte, i)->token, s);
    }
    return sum;
}

/* The tokens behind a place that lead to places of their own. */
static size_t find_children(const cs_translate_byte *byte, int32_t place, int32_t tokens[CS_TREE_NODES])
{
    size_t n = 0;
    for (int32_t i = 0; i < CS_TREE_NODES; i++) {
        if (node_of(byte, i)->is_used && node_of(byte, i)->parent == place) {
            tokens[n++] = node_of(byte, i)->token;
        }
    }
    return n;
}

/* What the way to a place, and a token behind it (−1: none), say beyond the text's end. Returns how many bytes; 0 for none and
 * for more than COSTEER_PIECE_MAX. */
static size_t read_ahead(const cs_translate_byte *byte, int32_t place, int32_t token, char ahead[COSTEER_PIECE_MAX])
{
    char piece[COSTEER_PIECE_MAX];
    char reversed[COSTEER_PIECE_MAX];
    size_t n = 0;
    const int64_t size = cs_text_tokens_size(byte->text);
    int64_t end = node_of(byte, place)->end + (token < 0 ? 0 : (int64_t)length_of(byte, token, piece));
    for (int32_t i = place; end > size; i = token < 0 ? node_of(byte, i)->parent : i, token = -1) {
        const size_t length = length_of(byte, token < 0 ? node_of(byte, i)->token : token, piece);
        for (size_t j = length; j-- > 0 && end > size; end--) {
            if (n == COSTEER_PIECE_MAX) {
                return 0;
            }
            reversed[n++] = piece[j];
        }
    }
    for (size_t i = 0; i < n; i++) {
        ahead[i] = reversed[n - 1 - i];
    }
    return n;
}

/* ---- looking ahead ----------------------------------------------------------------------------------------------- */

typedef struct candidate {
    int32_t place;
    int32_t token;
    double log_probability; /* of the way with the token */
} candidate;

/* Whether it is worth to ask what follows a token behind a place: it leaves some of the text to be covered, or the LLM has tokens
 * that say more than it does. */
static bool is_worth(const cs_translate_byte *byte, int32_t place, int32_t token, bool *reaches_end)
{
    char bytes[COSTEER_PIECE_MAX];
    const int64_t end = node_of(byte, place)->end + (int64_t)length_of(byte, token, bytes);
    *reaches_end = end >= cs_text_tokens_size(byte->text);
    if (end <= cs_text_tokens_size(byte->text)) {
        return true;
    }
    const size_t n = read_ahead(byte, place, token, bytes);
    const int32_t n_longer = n == 0 ? 0 : cs_vocab_map_count_longer(byte->map, bytes, n);
    return n_longer > 0 && n_longer <= LONGER_MAX;
}

/* The likeliest token behind a place that is worth it. `known` becomes at least the log-probability of a way that covers the
 * text. */
static candidate look_behind(const cs_translate_byte *byte, int32_t place, int32_t s, double *known)
{
    candidate none = {.place = -1, .log_probability = -HUGE_VAL};
    int32_t but[CS_TREE_NODES + TRIES_MAX];
    size_t n_but = find_children(byte, place, but);
    size_t n = 0;
    const int64_t end = node_of(byte, place)->end;
    const char *pending = end < cs_text_tokens_size(byte->text) ? cs_text_tokens_from(byte->text, end, &n) : "";
    const double weight = log_weight(byte, place, s);
    if (pending == NULL || end < 0) {
        return none;
    }
    if (n == 0 && weight > *known) {
        *known = weight;
    }
    for (int i = 0; i < TRIES_MAX; i++) {
        bool reaches_end;
        const int32_t token = cs_vocab_map_likeliest(byte->map, cs_tree_row(byte->tree, place, s), pending, n, but, n_but);
        if (token < 0) {
            break;
        }
        const double value = weight + log_probability(byte, place, token, s);
        if (value < *known + log(WAY_MIN)) {
            break;
        }
        const bool wins = is_worth(byte, place, token, &reaches_end);
        *known = reaches_end && value > *known ? value : *known;
        if (wins) {
            return (candidate){.place = place, .token = token, .log_probability = value};
        }
        but[n_but++] = token;
    }
    return none;
}

/* The likeliest way, in the eyes of any expert, that is not known yet. */
static candidate find_way(const cs_translate_byte *byte)
{
    candidate best = {.place = -1};
    double best_share = log(WAY_MIN);
    for (int32_t s = 1; s < byte->n_sequences; s++) {
        if (byte->is_mute[s]) {
            continue;
        }
        candidate of_expert = {.place = -1, .log_probability = -HUGE_VAL};
        double known = -HUGE_VAL;
        for (int32_t i = 0; i < CS_TREE_NODES; i++) {
            if (node_of(byte, i)->is_used) {
                const candidate found = look_behind(byte, i, s, &known);
                of_expert = found.log_probability > of_expert.log_probability ? found : of_expert;
            }
        }
        if (of_expert.place >= 0 && of_expert.log_probability - known > best_share) {
            best = of_expert;
            best_share = of_expert.log_probability - known;
        }
    }
    return best;
}

static costeer_err look_ahead(cs_translate_byte *byte, costeer_error *err)
{
    size_t n;
    char piece[COSTEER_PIECE_MAX];
    const int32_t *tokens = cs_text_tokens_get(byte->text, &n);
    for (int i = 0; i < WAYS_MAX && cs_tree_room(byte->tree) > 0 && !cs_tree_cannot_cut(byte->tree); i++) {
        const candidate way = find_way(byte);
        if (way.place < 0) {
            break;
        }
        int32_t place;
        const costeer_err code = cs_tree_extend(byte->tree, tokens, 0, way.place, &way.token, 1, &place, err);
        if (code != COSTEER_OK) {
            return code;
        }
        node_of(byte, place)->end = node_of(byte, way.place)->end + (int64_t)length_of(byte, way.token, piece);
    }
    return COSTEER_OK;
}

/* ---- what follows the text --------------------------------------------------------------------------------------- */

/* A place's row without the tokens that lead to places of their own; the weight becomes that of what is left. */
static const float *row_without_children(cs_translate_byte *byte, int32_t place, int32_t s, double *weight)
{
    int32_t children[CS_TREE_NODES];
    const size_t n = find_children(byte, place, children);
    const float *row = cs_tree_row(byte->tree, place, s);
    if (n == 0) {
        return row;
    }
    memcpy(byte->scratch, row, (size_t)byte->n_slm * sizeof *row);
    for (size_t i = 0; i < n; i++) {
        byte->scratch[children[i]] = -INFINITY;
    }
    /* not log(1 − p): of a p near 1 that would keep no digit */
    *weight += costeer_logsumexp(byte->scratch, byte->n_slm) - cs_tree_normaliser(byte->tree, place, s);
    return byte->scratch;
}

static void add_place(cs_translate_byte *byte, int32_t place, int32_t s, double weight)
{
    const int64_t end = node_of(byte, place)->end;
    const int64_t size = cs_text_tokens_size(byte->text);
    size_t n = 0;
    const char *pending = end < size ? cs_text_tokens_from(byte->text, end, &n) : "";
    if (end < 0 || pending == NULL) {
        return;
    }
    const float *row = row_without_children(byte, place, s, &weight);
    if (end > size) {
        char ahead[COSTEER_PIECE_MAX];
        n = read_ahead(byte, place, -1, ahead);
        cs_vocab_mass_add_behind(byte->mass, row, weight, ahead, n);
    } else if (end == size) {
        cs_vocab_mass_add(byte->mass, row, weight);
    } else {
        cs_vocab_mass_add_crossing(byte->mass, row, weight, pending, n);
    }
}

typedef void finish_fn(cs_vocab_mass *mass, float *out);

/* The distribution of one sequence. Returns the log of the probability of what is behind the text's last whole character. */
static double distribute(cs_translate_byte *byte, int32_t s, finish_fn *finish)
{
    double weights[CS_TREE_NODES];
    double largest = -HUGE_VAL;
    float *out = byte->out + (size_t)s * (size_t)byte->n_llm;
    for (int32_t i = 0; i < CS_TREE_NODES; i++) {
        weights[i] = node_of(byte, i)->is_used ? log_weight(byte, i, s) : -HUGE_VAL;
        if (node_of(byte, i)->is_used && node_of(byte, i)->end >= cs_text_tokens_size(byte->text)) {
            largest = weights[i] > largest ? weights[i] : largest;
        }
    }
    cs_vocab_mass_begin(byte->mass);
    for (int32_t i = 0; i < CS_TREE_NODES; i++) {
        if (node_of(byte, i)->is_used && weights[i] >= largest + WEIGHT_MIN) {
            add_place(byte, i, s, weights[i]);
        }
    }
    finish(byte->mass, out);
    const double total = cs_vocab_mass_total(byte->mass);
    for (int32_t i = 0; i < byte->n_llm; i++) {
        out[i] = total == -HUGE_VAL ? 0.0F : out[i] - (float)total; /* no way covers the text: nothing is known */
    }
    return total - log_weight(byte, byte->at_end, s);
}

/* True when the text ends inside a character. */
static bool is_in_character(const cs_translate_byte *byte)
{
    return node_of(byte, byte->at_end)->end != cs_text_tokens_size(byte->text);
}

static costeer_err distribute_all(cs_translate_byte *byte, costeer_error *err)
{
    drop_beginning(byte);
    const costeer_err code = look_ahead(byte, err);
    double likeliest = -HUGE_VAL;
    for (int32_t s = 0; s < byte->n_sequences && code == COSTEER_OK; s++) {
        const double of_pending = distribute(byte, s, cs_vocab_mass_finish);
        likeliest = s > 0 && !byte->is_mute[s] && of_pending > likeliest ? of_pending : likeliest;
    }
    if (code == COSTEER_OK && is_in_character(byte) && likeliest < log(CHARACTER_MIN)) {
        memset(byte->out, 0, (size_t)byte->n_sequences * (size_t)byte->n_llm * sizeof *byte->out);
    }
    return code;
}

/* ---- as translate.c asks ----------------------------------------------------------------------------------------- */

void cs_translate_byte_weigh(cs_translate_byte *byte, const double *weights, size_t n_deltas)
{
    for (size_t i = 0; i < n_deltas && i < COSTEER_DELTAS_MAX; i++) {
        byte->is_mute[i + 1] = weights[i] == 0.0;
    }
}

costeer_err cs_translate_byte_begin(cs_translate_byte *byte, size_t *n_computed, costeer_error *err)
{
    cs_text_tokens_reset(byte->text);
    byte->at_end = 0;
    costeer_err code = cs_tree_begin(byte->tree, n_computed, err);
    code = code == COSTEER_OK ? distribute_all(byte, err) : code;
    byte->is_ready = code == COSTEER_OK;
    return code;
}

static costeer_err push(cs_translate_byte *byte, int32_t token, costeer_error *err)
{
    if (token < 0 || token >= byte->n_llm) {
        return cs_error_set(err, COSTEER_EINVAL, "slm", "token %d is not one of the LLM's %d", token, byte->n_llm);
    }
    size_t n;
    const char *bytes = cs_vocab_map_bytes(byte->map, token, &n);
    return n == 0 ? COSTEER_OK : cs_text_tokens_push(byte->text, bytes, n, err);
}

costeer_err cs_translate_byte_step(cs_translate_byte *byte, const int32_t *tokens, size_t n, costeer_error *err)
{
    if (!byte->is_ready) {
        return cs_error_set(err, COSTEER_ESTATE, "slm", "a step before the prompt was computed");
    }
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < n && code == COSTEER_OK; i++) {
        code = push(byte, tokens[i], err);
    }
    if (code == COSTEER_OK) {
        prune(byte, cs_text_tokens_take_unchanged(byte->text));
        code = follow(byte, err);
    }
    code = code == COSTEER_OK ? distribute_all(byte, err) : code;
    byte->is_ready = code == COSTEER_OK;
    return code;
}

const float *cs_translate_byte_row(const cs_translate_byte *byte, int32_t sequence)
{
    return byte->out + (size_t)sequence * (size_t)byte->n_llm;
}

const float *cs_translate_byte_own_row(const cs_translate_byte *byte, int32_t sequence)
{
    return cs_tree_row(byte->tree, byte->at_end, sequence);
}

/* Prefix masses are no distribution over tokens: without a base that is one, the shortest token would always win. So all rows are
 * made anew as one, also those that were read: their difference is then again what the contexts do. */
const float *cs_translate_byte_alone(cs_translate_byte *byte)
{
    for (int32_t s = 0; s < byte->n_sequences; s++) {
        distribute(byte, s, cs_vocab_mass_finish_longest);
    }
    return cs_translate_byte_row(byte, 0);
}
