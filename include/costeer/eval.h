/*
 * Evaluation: the rows of a set, answered by several methods and measured. docs/evaluation.md has the tasks, prompts and files.
 *
 * Three steps, each usable alone: text of a row → costeer_eval_row (pure), methods and sweeps → costeer_eval_items (pure), rows ×
 * items → lines of JSON in a fixed order (costeer_eval_run). Files and their places are the caller's business.
 */
#ifndef COSTEER_EVAL_H
#define COSTEER_EVAL_H

#include <costeer/ensemble.h>
#include <costeer/metrics.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- tasks and rows ---------------------------------------------------------------------------------------------- */

/** How a row becomes prompts. */
typedef enum costeer_eval_shape {
    COSTEER_EVAL_PAIRED = 0,     /**< another request, which has the context in it, takes the query's place */
    COSTEER_EVAL_RECORDS = 1,    /**< five records of the author, then the query */
    COSTEER_EVAL_PREFERENCE = 2, /**< the query, then one sentence that asks for a manner */
    COSTEER_EVAL_FIELDS = 3,     /**< fields that the caller names */
    COSTEER_EVAL_LABELLED = 4    /**< notes whose parts are labelled as needed, fine or inappropriate */
} costeer_eval_shape;

/** A task is a row of a table. */
typedef struct costeer_eval_task {
    const char *name;
    const char *summary; /**< a few words */
    costeer_eval_shape shape;
    const char *heading;      /**< RECORDS: the line above them */
    const char *record[2];    /**< RECORDS: fields of a record; LABELLED: of a part, its text and its strings */
    const char *record_as[2]; /**< RECORDS: what they are called in the prompt */
    const char *system;       /**< default system message; NULL: none */
    int32_t max_tokens;       /**< default */
} costeer_eval_task;

/** All tasks in the order they are shown. */
COSTEER_API const costeer_eval_task *costeer_eval_task_list(size_t *n);

/** The task of a name; NULL when there is none. */
COSTEER_API const costeer_eval_task *costeer_eval_task_find(const char *name);

/** "concise|creative|uplifting|verbose" */
#define COSTEER_EVAL_PREFERENCES "concise|creative|uplifting|verbose"

/** How the rows of a file are read. */
typedef struct costeer_eval_form {
    const costeer_eval_task *task;
    const char *preference; /**< PREFERENCE: one of COSTEER_EVAL_PREFERENCES; else NULL */
    /* FIELDS only; NULL: the name in brackets */
    const char *query_field;     /**< (query) */
    const char *context_field;   /**< (context) */
    const char *reference_field; /**< (output) may be missing in a row */
    const char *facts_field;     /**< (facts) a list of texts; may be missing in a row */
    const char *id_field;        /**< (id, else tid, else index, else the number of the line) */
    /** FIELDS and LABELLED: the user message where a context is given; NULL: "{context}\n\n{query}" */
    const char *context_template;
    const char *split; /**< LABELLED: "dev" or "test", rows of another one are skipped; NULL: all rows */
} costeer_eval_form;

/** Check a form: preference and split are there only where they belong, the template has {context} and {query}. COSTEER_EINVAL.
 */
COSTEER_API costeer_err costeer_eval_form_check(const costeer_eval_form *form, costeer_error *err);

/** Longest line that is read, in bytes. */
#define COSTEER_EVAL_LINE_MAX ((size_t)16 << 20)

/** Most facts, parts and strings of a part, and longest id in bytes. */
#define COSTEER_EVAL_FACTS_MAX 1024
#define COSTEER_EVAL_ID_MAX    256

/** A part of a row's context. */
typedef struct costeer_eval_part {
    size_t at; /**< where its text is in the context, in bytes */
    size_t n_bytes;
    costeer_fact_label label;
    const char *const *strings; /**< [n_strings] as in costeer_fact; the row's */
    size_t n_strings;
} costeer_eval_part;

/**
 * A row. The user message with the context is head, material and tail, one after the other; only the material may be cut, from
 * its beginning on. Dispose of it with costeer_eval_row_dispose(); all-zero is an empty one.
 */
typedef struct costeer_eval_row {
    int64_t line; /**< in its file, from 1 */
    char *id;
    char *query; /**< the public request */
    char *head;
    char *material;
    char *tail;
    char *context;   /**< what the query alone does not say, for context recall; NULL: a mere preference */
    char *reference; /**< a good answer; NULL: none */
    char **facts;    /**< [n_facts] */
    size_t n_facts;
    bool is_skipped;          /**< of another split than the form's; nothing but the id is read */
    costeer_eval_part *parts; /**< [n_parts] */
    size_t n_parts;
    char **part_strings; /**< of all parts */
    char **writer;       /**< [n_writer] forms of the writer's name */
    size_t n_writer;
    char **addressee; /**< [n_addressee] */
    size_t n_addressee;
    char *chosen;       /**< what the methods are given in the material's place, see costeer_eval_row_choose(); NULL: all of it */
    bool *is_chosen;    /**< [n_parts] parts with something of them in `chosen`; NULL likewise */
    size_t n_used;      /**< parts chosen, as costeer_selection counts them */
    size_t n_left;      /**< parts that stay */
    size_t n_cut;       /**< bytes that costeer_eval_fit_row() has taken from the material */
    int32_t max_tokens; /**< what costeer_eval_fit_row() found room for; 0: not fitted */
} costeer_eval_row;

/**
 * Read one line of a file.
 *
 * @param text      [n_bytes] JSON without its line end
 * @param line      its number, from 1
 * @param[out] out  dispose of it in every case; its id is set whenever the line has one
 * @return COSTEER_OK; COSTEER_EINVAL: the message says what is wrong with the line, without any text of it; COSTEER_EUTF8;
 *         COSTEER_ETOOLONG; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_eval_row_parse(const costeer_eval_form *form, const char *text, size_t n_bytes, int64_t line,
                                               costeer_eval_row *out, costeer_error *err);
COSTEER_API void costeer_eval_row_dispose(costeer_eval_row *row);

/** The user message with the context, n_cut bytes of the material left out. malloc'ed; NULL when memory is out. */
COSTEER_API char *costeer_eval_row_message(const costeer_eval_row *row);

/**
 * Give the methods a choice of the context's parts instead of all of it: `text` takes the material's place in every prompt but
 * the judge's, whose perplexity then compares runs. An empty text makes the prompts those of a row without a context.
 *
 * @param row        FIELDS or LABELLED
 * @param text       copied
 * @param is_chosen  [row->n_parts] which labelled parts are in it, copied; NULL when there are none
 * @return COSTEER_OK; COSTEER_EINVAL: another shape's row; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_eval_row_choose(costeer_eval_row *row, const char *text, size_t n_used, size_t n_left,
                                                const bool *is_chosen, costeer_error *err);

/** The user message that the methods are given. malloc'ed; NULL when memory is out. */
COSTEER_API char *costeer_eval_row_chosen_message(const costeer_eval_row *row);

/** Write the hex SHA-256 of some bytes; what identifies a file of rows. False when OpenSSL fails. */
COSTEER_API bool costeer_eval_hash(const void *bytes, size_t n_bytes, char hex[65]);

/* ---- items ------------------------------------------------------------------------------------------------------- */

/** A parameter that takes several values: from, from + step … up to `to`. */
typedef struct costeer_eval_sweep {
    const char *parameter; /**< "strength", "T", "alpha", "beta", "lambda", "eta", "plausibility" or "divergence"; static */
    double from;
    double to;
    double step;
} costeer_eval_sweep;

/** Read NAME=FROM:TO:STEP. COSTEER_EINVAL: the message says what is wrong. */
COSTEER_API costeer_err costeer_eval_sweep_parse(const char *text, costeer_eval_sweep *out, costeer_error *err);

/** Most items of a run. */
#define COSTEER_EVAL_ITEMS_MAX 1024

/** What answers a row: a method with its weight. */
typedef struct costeer_eval_item {
    char label[96]; /**< "costeer", "costeer strength=0.5" */
    const costeer_method *method;
    const char *parameter; /**< swept; NULL: none. Static */
    double value;          /**< of the parameter */
    double strength;       /**< what all of it amounts to; limits may leave less of it at a position */
    costeer_delta_limits limits;
    double top_p; /**< the base's support; 1: all of it */
} costeer_eval_item;

typedef struct costeer_eval_items_params {
    const costeer_method *const *methods; /**< [n_methods], each once */
    size_t n_methods;
    costeer_method_settings settings; /**< each goes to the methods that have it */
    double top_p;                     /**< for methods that restrict the base; NaN: as the method has it */
    const costeer_eval_sweep *sweeps; /**< [n_sweeps], each goes to the methods that have its parameter, one after the other */
    size_t n_sweeps;
} costeer_eval_items_params;

/**
 * Compute the items of a run: for each method the values of the sweeps that apply to it, or the method as it is when none does.
 *
 * @param[out] out  [*n] malloc'ed; NULL on failure
 * @return COSTEER_OK; COSTEER_EINVAL: a method named twice, a setting or sweep that none of the methods has, one that leaves its
 *         range, more than COSTEER_EVAL_ITEMS_MAX items; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_eval_items_create(const costeer_eval_items_params *params, costeer_eval_item **out, size_t *n,
                                                  costeer_error *err);

/* ---- running ----------------------------------------------------------------------------------------------------- */

typedef struct costeer_eval costeer_eval;

#define COSTEER_EVAL_JOBS_MAX 64

typedef struct costeer_eval_params {
    /** Models, connection and context size; n_contexts and n_drafts are set by the evaluation. */
    costeer_ensemble_params models;
    /** max_tokens, sampler, depth, gate, stop strings, cancel; the rest is set for each answer. */
    costeer_session_params session;
    const costeer_eval_item *items; /**< [n_items], copied; n_items >= 1 */
    size_t n_items;
    costeer_prompt form;      /**< what all prompts have: system message, template, …; no query, turns or context; its texts
                                   outlive the evaluation */
    const char *llm_template; /**< as in costeer_ensemble_prompts */
    const char *slm_template;
    const char *amateur_template; /**< query_template of the SLM's prompt as amateur; NULL: none */
    int32_t n_jobs;               /**< answers at a time, 1 … COSTEER_EVAL_JOBS_MAX */
    int32_t n_ctx_remote;         /**< with a connection: tokens of prompt and answer that the cloud takes; 0: unknown */
    bool truncates;               /**< cut the context of rows that do not fit, its oldest part first */
    const costeer_model *judge;   /**< NULL: none */
    int32_t n_threads_judge;
    bool
        pairwise; /**< the judge also says which answer to a row is better, the first item's or another's; without a connection */
} costeer_eval_params;

/** Shortest answer for which there must be room behind the prompts, in tokens; or max_tokens when that is less. */
#define COSTEER_EVAL_ANSWER_MIN 16

/**
 * Prepare an evaluation: engines, running states, judge.
 *
 * @param[out] out  free with costeer_eval_free(); NULL on failure
 * @return COSTEER_OK; COSTEER_EINVAL: a model that an item needs is missing, or a parameter is out of range; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_eval_create(const costeer_eval_params *params, costeer_eval **out, costeer_error *err);
COSTEER_API void costeer_eval_free(costeer_eval *eval);

/**
 * Make a row fit the models that the items need: cut its context when that is allowed, set its max_tokens.
 *
 * @return COSTEER_OK; COSTEER_ETOOLONG: it does not fit, the message gives the sizes; errors of building prompts. The row is then
 *         to be left out.
 */
COSTEER_API costeer_err costeer_eval_fit_row(const costeer_eval *eval, costeer_eval_row *row, costeer_error *err);

/** One answer of one row. Valid during the callback. */
typedef struct costeer_eval_result {
    size_t row;       /**< index into the rows */
    size_t item;      /**< index into the items */
    const char *line; /**< [n_bytes] one JSON object, without a line end */
    size_t n_bytes;
    const costeer_report *report; /**< with the times, which the line leaves out */
} costeer_eval_result;

/** Receives the results, rows outer, items inner, on the thread that called costeer_eval_run(); false stops (COSTEER_EABORTED).
 */
typedef bool (*costeer_eval_result_fn)(const costeer_eval_result *result, void *user);

/**
 * Answer the rows.
 *
 * The answers of one run depend on params, rows and n_jobs alone, so that a run that goes on at n_done gives what an undisturbed
 * one would have given; with a connection only as far as the cloud does the same.
 *
 * @param rows    [n_rows] fitted
 * @param n_done  results, in the order of delivery, that the caller has already
 * @return COSTEER_OK; COSTEER_ECANCELED; COSTEER_EABORTED; what the first answer in order that failed ended with. Results before
 * it have been delivered.
 *
 * Threads: one at a time.   Blocks: for the whole run.
 */
COSTEER_API costeer_err costeer_eval_run(costeer_eval *eval, const costeer_eval_row *rows, size_t n_rows, size_t n_done,
                                         costeer_eval_result_fn on_result, void *user, costeer_error *err);

#ifdef __cplusplus
}
#endif
#endif
