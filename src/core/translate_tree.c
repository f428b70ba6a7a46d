/*
 * Rows of logits behind several ways to go on from a text.
 *
 * The rows are copies: llama.cpp's are gone with the next batch. What the sequences hold is always prompt and one way; the next
 * computation keeps what it shares with that. Recurrent states cannot be cut: the whole sequence is then computed anew, and
 * whoever asks should keep to one way. Nothing is allocated after creation.
 */
#include "core/translate_tree.h"

#include "util/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct cs_tree {
    cs_decoder *decoder;
    size_t n_sequences;
    size_t n_vocab;
    bool is_ready; /* the prompts are computed and nothing has failed */
    bool cannot_cut;
    cs_tree_node nodes[CS_TREE_NODES];
    int32_t *n_prompt;   /* [n_sequences] */
    int32_t *replay;     /* [n_ctx] a sequence's tokens while it is cut */
    int32_t *index;      /* [CS_TREE_ROWS][n_sequences] rows' numbers in a batch */
    float *rows;         /* [CS_TREE_NODES][n_sequences][n_vocab] */
    double *normalisers; /* [CS_TREE_NODES][n_sequences]; NaN: not computed yet */
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

costeer_err cs_tree_create(cs_decoder *decoder, int32_t n_sequences, int32_t n_vocab, cs_tree **out, costeer_error *err)
{
    *out = NULL;
    cs_tree *tree = calloc(1, sizeof *tree);
    const size_t n = (size_t)n_sequences;
    if (tree != NULL) {
        tree->decoder = decoder;
        tree->n_sequences = n;
        tree->n_vocab = (size_t)n_vocab;
        tree->n_prompt = calloc(n, sizeof *tree->n_prompt);
        tree->replay = malloc((size_t)cs_decoder_n_ctx(decoder) * sizeof *tree->replay);
        tree->index = calloc(CS_TREE_ROWS * n, sizeof *tree->index);
        tree->rows = malloc(CS_TREE_NODES * n * tree->n_vocab * sizeof *tree->rows);
        tree->normalisers = malloc(CS_TREE_NODES * n * sizeof *tree->normalisers);
    }
    if (tree == NULL || tree->n_prompt == NULL || tree->replay == NULL || tree->index == NULL || tree->rows == NULL ||
        tree->normalisers == NULL) {
        cs_tree_free(tree);
        return cs_error_set(err, COSTEER_ENOMEM, "slm", "no memory for logits of %d tokens", n_vocab);
    }
    *out = tree;
    return COSTEER_OK;
}

void cs_tree_free(cs_tree *tree)
{
    if (tree != NULL) {
        free(tree->n_prompt);
        free(tree->replay);
        free(tree->index);
        free(tree->rows);
        free(tree->normalisers);
        free(tree);
    }
}

/* ---- places ------------------------------------------------------------------------------------------------------ */

cs_tree_node *cs_tree_nodes(cs_tree *tree)
{
    return tree->nodes;
}

/* Nothing of the tree is deeper than its nodes are many, so the recursion is short. */
void cs_tree_drop(cs_tree *tree, int32_t node) /* NOLINT(misc-no-recursion) */
{
    cs_tree_node *nodes = tree->nodes;
    nodes[node].is_used = false;
    for (int32_t i = 0; i < CS_TREE_NODES; i++) {
        if (!nodes[i].is_used || nodes[i].parent != node) {
            continue;
        }
        if (nodes[i].is_text) {
            nodes[i].parent = -1;
        } else {
            cs_tree_drop(tree, i);
        }
    }
}

size_t cs_tree_room(const cs_tree *tree)
{
    size_t n = 0;
    for (int32_t i = 0; i < CS_TREE_NODES; i++) {
        n += !tree->nodes[i].is_used;
    }
    return n;
}

bool cs_tree_cannot_cut(const cs_tree *tree)
{
    return tree->cannot_cut;
}

static bool is_on_way(const cs_tree *tree, int32_t node, int32_t end)
{
    for (int32_t i = end; i >= 0; i = tree->nodes[i].parent) {
        if (i == node) {
            return true;
        }
    }
    return false;
}

/* What is least needed: a way that is no text, else the text's beginning; not the way to `keep`. −1: nothing else is there. */
static int32_t find_least(const cs_tree *tree, int32_t keep)
{
    int32_t least = -1;
    for (int32_t i = 0; i < CS_TREE_NODES; i++) {
        const cs_tree_node *node = &tree->nodes[i];
        const bool is_needed = i == keep || (!node->is_text && is_on_way(tree, i, keep));
        if (!node->is_used || is_needed) {
            continue;
        }
        const cs_tree_node *other = &tree->nodes[least < 0 ? i : least];
        if (least < 0 || node->is_text < other->is_text || (node->is_text == other->is_text && node->depth < other->depth)) {
            least = i;
        }
    }
    return least;
}

static bool make_room(cs_tree *tree, size_t n, int32_t keep)
{
    while (cs_tree_room(tree) < n) {
        const int32_t least = find_least(tree, keep);
        if (least < 0) {
            return false;
        }
        cs_tree_drop(tree, least);
    }
    return true;
}

static int32_t take_place(const cs_tree *tree)
{
    int32_t i = 0;
    while (tree->nodes[i].is_used) {
        i++;
    }
    return i;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static size_t number_of(const cs_tree *tree, int32_t node, size_t s)
{
    return (size_t)node * tree->n_sequences + s;
}

const float *cs_tree_row(const cs_tree *tree, int32_t node, int32_t sequence)
{
    return tree->rows + number_of(tree, node, (size_t)sequence) * tree->n_vocab;
}

double cs_tree_normaliser(cs_tree *tree, int32_t node, int32_t sequence)
{
    double *value = &tree->normalisers[number_of(tree, node, (size_t)sequence)];
    if (isnan(*value)) {
        *value = costeer_logsumexp(cs_tree_row(tree, node, sequence), (int32_t)tree->n_vocab);
    }
    return *value;
}

static costeer_err keep_row(cs_tree *tree, int32_t node, size_t s, const float *logits, costeer_error *err)
{
    if (logits == NULL) {
        return cs_error_set(err, COSTEER_EINTERNAL, "slm", "llama.cpp has no logits for a step");
    }
    const size_t number = number_of(tree, node, s);
    memcpy(tree->rows + number * tree->n_vocab, logits, tree->n_vocab * sizeof *logits);
    tree->normalisers[number] = (double)NAN;
    return COSTEER_OK;
}

costeer_err cs_tree_begin(cs_tree *tree, size_t *n_computed, costeer_error *err)
{
    memset(tree->nodes, 0, sizeof tree->nodes);
    tree->is_ready = false;
    costeer_err code = cs_decoder_prefill(tree->decoder, n_computed, err);
    for (size_t s = 0; s < tree->n_sequences && code == COSTEER_OK; s++) {
        tree->n_prompt[s] = cs_decoder_held(tree->decoder, (int32_t)s);
        code = keep_row(tree, 0, s, cs_decoder_logits(tree->decoder, (int32_t)s), err);
    }
    tree->nodes[0] = (cs_tree_node){.is_used = true, .is_text = true, .token = -1, .parent = -1};
    tree->is_ready = code == COSTEER_OK;
    return code;
}

/* ---- computing --------------------------------------------------------------------------------------------------- */

/* A way: tokens of the text, then those of places. */
typedef struct way {
    const int32_t *text;
    size_t n_text;
    int32_t tokens[CS_TREE_NODES];
    size_t n_tokens;
} way;

static way find_way(const cs_tree *tree, const int32_t *text, size_t n_before, int32_t node)
{
    way out = {.text = text, .n_text = n_before};
    for (int32_t i = node; i >= 0; i = tree->nodes[i].parent) {
        if (tree->nodes[i].token >= 0) {
            out.tokens[CS_TREE_NODES - ++out.n_tokens] = tree->nodes[i].token;
        }
    }
    memmove(out.tokens, out.tokens + CS_TREE_NODES - out.n_tokens, out.n_tokens * sizeof *out.tokens);
    if (node >= 0) {
        out.n_text = tree->nodes[node].depth - out.n_tokens;
    }
    return out;
}

static size_t way_length(const way *w)
{
    return w->n_text + w->n_tokens;
}

static int32_t way_token(const way *w, size_t i)
{
    return i < w->n_text ? w->text[i] : w->tokens[i - w->n_text];
}

/* How much of a way the sequences hold. */
static size_t count_shared(const cs_tree *tree, const way *w)
{
    const int32_t *held = cs_decoder_held_tokens(tree->decoder, 0) + tree->n_prompt[0];
    const size_t n_held = (size_t)(cs_decoder_held(tree->decoder, 0) - tree->n_prompt[0]);
    size_t n = 0;
    while (n < way_length(w) && n < n_held && way_token(w, n) == held[n]) {
        n++;
    }
    return n;
}

static costeer_err check_fits(const cs_tree *tree, size_t n, costeer_error *err)
{
    const int32_t n_ctx = cs_decoder_n_ctx(tree->decoder);
    for (size_t s = 0; s < tree->n_sequences; s++) {
        if (n > (size_t)(n_ctx - tree->n_prompt[s])) {
            return cs_error_set(err, COSTEER_ETOOLONG, "slm", "the context window of %d tokens is full; use --ctx-size", n_ctx);
        }
    }
    return COSTEER_OK;
}

/* Compute a sequence's tokens from n on once more. */
static costeer_err compute_again(cs_tree *tree, int32_t s, int32_t n, int32_t n_wanted, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    while (n < n_wanted && code == COSTEER_OK) {
        cs_decoder_begin(tree->decoder);
        while (n < n_wanted && cs_decoder_room(tree->decoder) > 0) {
            (void)cs_decoder_add(tree->decoder, s, tree->replay[n++], false);
        }
        code = cs_decoder_compute(tree->decoder, err);
    }
    return code;
}

/* Let every sequence hold its prompt and n tokens behind it, of which it holds as many or more. */
static costeer_err cut(cs_tree *tree, size_t n, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < tree->n_sequences && code == COSTEER_OK; i++) {
        const int32_t s = (int32_t)i;
        const int32_t n_wanted = tree->n_prompt[i] + (int32_t)n;
        if (cs_decoder_held(tree->decoder, s) < n_wanted) {
            return cs_error_set(err, COSTEER_ESTATE, "slm", "what was computed of the answer is lost; begin it again");
        }
        if (cs_decoder_held(tree->decoder, s) > n_wanted) {
            memcpy(tree->replay, cs_decoder_held_tokens(tree->decoder, s), (size_t)n_wanted * sizeof *tree->replay);
            const int32_t left = cs_decoder_truncate(tree->decoder, s, n_wanted);
            tree->cannot_cut = tree->cannot_cut || left < n_wanted;
            code = compute_again(tree, s, left, n_wanted, err);
        }
    }
    return code;
}

/* What is to be computed: a way's tokens that are not held, then new ones. */
typedef struct work {
    way before;
    const int32_t *tokens; /* [n] new */
    size_t n;
} work;

static size_t work_length(const work *w)
{
    return way_length(&w->before) + w->n;
}

static int32_t work_token(const work *w, size_t i)
{
    const size_t n = way_length(&w->before);
    return i < n ? way_token(&w->before, i) : w->tokens[i - n];
}

/* The number of the row that stands behind token i of the work, from the last one back; CS_TREE_ROWS or more: none. */
static size_t row_from_end(const work *w, size_t i)
{
    return i < way_length(&w->before) ? CS_TREE_ROWS : work_length(w) - 1 - i;
}

/* Compute tokens [from, to) of the work for all sequences in one batch, and keep their rows. */
static costeer_err compute(cs_tree *tree, const work *w, size_t from, size_t to, const int32_t *places, costeer_error *err)
{
    cs_decoder_begin(tree->decoder);
    for (size_t s = 0; s < tree->n_sequences; s++) {
        for (size_t i = from; i < to; i++) {
            const size_t row = row_from_end(w, i);
            const int32_t index = cs_decoder_add(tree->decoder, (int32_t)s, work_token(w, i), row < CS_TREE_ROWS);
            if (row < CS_TREE_ROWS) {
                tree->index[row * tree->n_sequences + s] = index;
            }
        }
    }
    costeer_err code = cs_decoder_compute(tree->decoder, err);
    for (size_t i = from; i < to; i++) {
        const size_t row = row_from_end(w, i);
        for (size_t s = 0; s < tree->n_sequences && row < CS_TREE_ROWS && code == COSTEER_OK; s++) {
            const int32_t index = tree->index[row * tree->n_sequences + s];
            code = keep_row(tree, places[row], s, cs_decoder_row(tree->decoder, index), err);
        }
    }
    return code;
}

static costeer_err compute_all(cs_tree *tree, const work *w, const int32_t *places, costeer_error *err)
{
    costeer_err code = check_fits(tree, work_length(w), err);
    size_t at = count_shared(tree, &w->before);
    code = code == COSTEER_OK ? cut(tree, at, err) : code;
    while (code == COSTEER_OK && at < work_length(w)) {
        cs_decoder_begin(tree->decoder);
        const size_t n_fit = (size_t)cs_decoder_room(tree->decoder) / tree->n_sequences;
        if (n_fit == 0) {
            return cs_error_set(err, COSTEER_EINVAL, "slm", "a batch has no room for %zu sequences; use --ctx-size",
                                tree->n_sequences);
        }
        const size_t to = work_length(w) - at < n_fit ? work_length(w) : at + n_fit;
        code = compute(tree, w, at, to, places, err);
        at = to;
    }
    return code;
}

costeer_err cs_tree_extend(cs_tree *tree, const int32_t *text, size_t n_before, int32_t node, const int32_t *tokens, size_t n,
                           int32_t *last, costeer_error *err)
{
    if (!tree->is_ready) {
        return cs_error_set(err, COSTEER_ESTATE, "slm", "a step before the prompt was computed");
    }
    const work w = {.before = find_way(tree, text, n_before, node), .tokens = tokens, .n = n};
    const size_t n_places = n < CS_TREE_ROWS ? n : CS_TREE_ROWS;
    int32_t places[CS_TREE_ROWS] = {0};
    int32_t parent = n > n_places ? -1 : node;
    if (!make_room(tree, n_places, node)) {
        return cs_error_set(err, COSTEER_EINTERNAL, "slm", "no room for %zu more places behind the text", n_places);
    }
    for (size_t i = n_places; i-- > 0;) { /* the way's first place has the highest number */
        const int32_t place = take_place(tree);
        tree->nodes[place] = (cs_tree_node){.is_used = true,
                                            .is_text = false,
                                            .token = tokens[n - 1 - i],
                                            .parent = parent,
                                            .depth = work_length(&w) - i,
                                            .end = -1};
        places[i] = place;
        parent = place;
    }
    const costeer_err code = compute_all(tree, &w, places, err);
    tree->is_ready = code == COSTEER_OK;
    *last = places[0];
    return code;
}
