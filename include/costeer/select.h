/*
 * Selection: which parts of a private context a request needs. All of it happens on this device, before anything is sent: nothing
 * here takes a cloud. What is not selected can be left out of every prompt, and has no influence on the answer then.
 *
 *     costeer_selector_create(slm, NULL, &selector, &err);
 *     costeer_select(selector, &(costeer_select_request){.query = query, .context = notes}, &selection, &err);
 *     prompt.context = selection.text;
 */
#ifndef COSTEER_SELECT_H
#define COSTEER_SELECT_H

#include <costeer/model.h>
#include <stdatomic.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- parts ------------------------------------------------------------------------------------------------------- */

/** What a part is. The numbers are part of the ABI. */
typedef enum costeer_part_kind {
    COSTEER_PART_PARAGRAPH = 0, /**< text that is not split: a code block, or what is left of a very long context */
    COSTEER_PART_SENTENCE = 1,  /**< a sentence of prose, or a line of notes */
    COSTEER_PART_ITEM = 2,      /**< an item of a list */
    COSTEER_PART_FIELD = 3,     /**< a line "key: value" */
    COSTEER_PART_RECORD = 4,    /**< a JSON record or member, a row of a table */
    COSTEER_PART_HEADING = 5,   /**< a heading, or the line before a list: never chosen for itself */
    COSTEER_PART_MAIL = 6       /**< the header of a mail, which its sentences need as a heading */
} costeer_part_kind;

/** "paragraph", "sentence", "item", "field", "record", "heading", "mail"; "unknown" for a foreign number. */
COSTEER_API const char *costeer_part_kind_name(costeer_part_kind kind);

/** A part of a text: bytes [begin, end). Parts are in the text's order and do not overlap. */
typedef struct costeer_part {
    size_t begin;
    size_t end;
    costeer_part_kind kind;
    int32_t heading; /**< index of the part that this one is not understood without, always a smaller one; −1: none */
    int32_t block;   /**< number of its paragraph, list or table: rises with the text */
} costeer_part;

/** Parts of a text, owned by the caller; all-zero is an empty list. */
typedef struct costeer_parts {
    costeer_part *items; /**< [n] */
    size_t n;
    size_t capacity;
} costeer_parts;

/** Parts that a text is split into at most. A longer one is split more coarsely, without headings. */
#define COSTEER_PARTS_MAX 4096

/**
 * Split a text into paragraphs, list items, sentences, fields, records and mails, by its form alone.
 *
 * Parts and the bytes between them are the text: nothing is changed, and nothing but white space, horizontal rules and JSON's
 * punctuation lies between. A long sentence stays whole.
 *
 * @param n_bytes   length of text, at most 64 MiB
 * @param[out] out  what it held is replaced; empty for a text of white space
 * @return COSTEER_OK; COSTEER_EUTF8 (the message gives the byte offset); COSTEER_EINVAL: too long; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_parts_split(const char *text, size_t n_bytes, costeer_parts *out, costeer_error *err);
COSTEER_API void costeer_parts_dispose(costeer_parts *parts);

/** True for a part that can be chosen: all but headings and the headers of mails, which come with the parts that need them. */
COSTEER_API bool costeer_part_is_choosable(const costeer_part *part);

/**
 * Write the text of some parts, in their order, with the headings that they need.
 *
 * It depends on the chosen parts and their headings alone: how they are put together follows from their kinds and from whether
 * they stand in one block, never from what was left out between them.
 *
 * @param is_used   [parts->n]
 * @param[out] out  malloc'ed, NUL-terminated, free it with free(); "" when nothing is used; NULL on failure
 * @return COSTEER_OK; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_parts_join(const char *text, const costeer_parts *parts, const bool *is_used, char **out,
                                           costeer_error *err);

/**
 * Score parts by the words that they share with a query: BM25 over the parts (k1 1.2, b 0.75). A word is a run of letters and
 * digits, ASCII letters folded; of scripts without spaces, every pair of neighbouring characters is one.
 *
 * @param[out] scores  [parts->n]; >= 0; a part counts with its headings
 * @return COSTEER_OK; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_parts_score_words(const char *text, const costeer_parts *parts, const char *query, double *scores,
                                                  costeer_error *err);

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

/** A model that is asked about parts, with its running state. One thread at a time. */
typedef struct costeer_selector costeer_selector;

typedef struct costeer_selector_params {
    int32_t n_threads;            /**< 0: all cores */
    int32_t n_judged_max;         /**< parts that the model is asked about; of more, those with the best BM25; 0: 256 */
    const char *const *questions; /**< [n_questions] what to ask instead of the own questions, see costeer_selector_create() */
    size_t n_questions;
    const char *chat_template;           /**< as of costeer_prompt; NULL: the model's own */
    costeer_prompt_progress_fn progress; /**< may be NULL; "selector" is the model's name */
    void *progress_user;
    const atomic_bool *cancel; /**< may be NULL */
} costeer_selector_params;

/**
 * Create a selector: a judge, which asks the model about each part whether a good answer to the request uses it.
 *
 * A question is a text with {request} and {part} in it, and may have {answer}, behind which the answer begins. The model's answer
 * is not written: its answer is log p(yes) − log p(no) of its next token, over all tokens that spell the words. The score is
 * measured between two kinds of notes that are asked about as well: 0 is the mean of such as no request needs, 1 the mean of such
 * as say the request itself. So it does not count how readily a model says yes, nor how far its answers are apart. Several
 * questions are averaged; the own ones are two, of which the second shows examples and is left out where the model has a window
 * below 2,048 tokens. A part that does not fit the model is judged by its beginning.
 *
 * @param model     the SLM, or any other: its vocabulary does not matter; must outlive the selector
 * @param params    NULL: defaults; copied, but for what its pointers point to
 * @param[out] out  free with costeer_selector_free(); NULL on failure
 * @return COSTEER_OK; COSTEER_EINVAL: a question without {request} or {part}; COSTEER_EMODEL: the model spells neither yes nor
 * no, or has no chat template; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_selector_create(const costeer_model *model, const costeer_selector_params *params,
                                                costeer_selector **out, costeer_error *err);
COSTEER_API void costeer_selector_free(costeer_selector *selector);

/** Why a part is used or stays. The numbers are part of the ABI. */
typedef enum costeer_part_reason {
    COSTEER_REASON_SCORE = 0,   /**< its score, above the threshold or not */
    COSTEER_REASON_PINNED = 1,  /**< named by a pin */
    COSTEER_REASON_DROPPED = 2, /**< named by a drop */
    COSTEER_REASON_HEADING = 3, /**< used with a part that needs it, or not needed */
    COSTEER_REASON_WORDS = 4,   /**< too many parts to ask about all, and others share more words with the request */
    COSTEER_REASON_KEPT = 5     /**< an earlier turn of the conversation used it; set by the caller */
} costeer_part_reason;

/** "score", "pinned", "dropped", "heading", "words", "kept"; "unknown" for a foreign number. */
COSTEER_API const char *costeer_part_reason_name(costeer_part_reason reason);

typedef struct costeer_select_request {
    const char *query;       /**< what is asked */
    const char *context;     /**< the private text */
    double threshold;        /**< scores above it are used; NaN: COSTEER_SELECT_THRESHOLD */
    const char *const *pins; /**< [n_pins] parts with one of these texts in them are used; ASCII letters in either case */
    size_t n_pins;
    const char *const *drops; /**< [n_drops] parts with one of these, or below a heading with one, are not, pinned or not */
    size_t n_drops;
} costeer_select_request;

/** What was chosen, owned by the caller; all-zero is an empty one. */
typedef struct costeer_selection {
    costeer_parts parts;
    double *scores;  /**< [parts.n] 0 as a note that no request needs, 1 as the request itself; NaN: not asked about */
    double *answers; /**< [parts.n] log p(yes) − log p(no); NaN likewise */
    bool *is_used;   /**< [parts.n] the caller may change it: costeer_selection_update() */
    costeer_part_reason *reasons; /**< [parts.n] */
    double threshold;             /**< that was used */
    double scale;    /**< nats between scores 0 and 1; below COSTEER_SELECT_SCALE_MIN the model does not judge; NaN: not asked */
    char *text;      /**< the used parts with their headings; "" when none is */
    size_t n_used;   /**< parts used, headings not counted */
    size_t n_left;   /**< parts that stay, headings not counted */
    size_t n_tokens; /**< computed by the model */
} costeer_selection;

/** Scores above this are used; measured (docs/selection.md). */
#define COSTEER_SELECT_THRESHOLD 0.7

/** A model with a smaller scale does not tell the request itself from a note about the weather: its scores are noise. */
#define COSTEER_SELECT_SCALE_MIN 0.1

/**
 * Choose the parts of a context that a request needs.
 *
 * The same input gives the same choice, whatever shares the model's batches. Nothing is chosen, or all, where the scores say so.
 *
 * @param[out] out  dispose of it; what it held is freed; all-zero on failure
 * @return COSTEER_OK; as costeer_parts_split(), costeer_prompt_build(); COSTEER_ENUMERIC: the model gave NaN; COSTEER_ECANCELED;
 *         COSTEER_ETOOLONG: the request does not fit the model
 * Blocks: for one prefill of the request and of every part, for each question.
 */
COSTEER_API costeer_err costeer_select(costeer_selector *selector, const costeer_select_request *request, costeer_selection *out,
                                       costeer_error *err);

/** Make text, n_used and n_left those of is_used, after the caller has changed it; headings follow. */
COSTEER_API costeer_err costeer_selection_update(costeer_selection *selection, const char *context, costeer_error *err);
COSTEER_API void costeer_selection_dispose(costeer_selection *selection);

#ifdef __cplusplus
}
#endif
#endif
