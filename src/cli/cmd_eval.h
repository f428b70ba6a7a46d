/* What the files of `costeer eval` share: its settings, the rows, the folder, the table and the line that tells how far it is. */
#ifndef CS_CLI_CMD_EVAL_H
#define CS_CLI_CMD_EVAL_H

#include "cli/methods.h"
#include "cli/pair.h"
#include "cli/remote.h"
#include "cli/settings.h"
#include "cli/templates.h"

#include <costeer/eval.h>
#include <jansson.h>

typedef struct cs_eval_settings {
    cs_settings common; /**< first: the shared option tables store into it */
    const char *task;
    const char *data;
    const char *preference;
    const char *split; /**< NULL: all rows */
    int32_t limit;     /**< 0: none */
    int32_t jobs;
    const char *out;
    const char *judge;
    bool pairwise;
    const char *use; /**< all, needed or labelled */
    bool truncate_context;
    cs_option_list sweeps;
    const char *query_field;
    const char *context_field;
    const char *reference_field;
    const char *facts_field;
    const char *id_field;
} cs_eval_settings;

extern const cs_option_group cs_group_eval;
extern const cs_option_group cs_group_eval_output;

/* ---- rows (cmd_eval_rows.c) -------------------------------------------------------------------------------------- */

/** A row that is left out. */
typedef struct cs_eval_bad {
    int64_t line;
    char *id; /**< NULL: unknown */
    char reason[512];
} cs_eval_bad;

/** The rows of a file. All zero: none. */
typedef struct cs_eval_rows {
    costeer_eval_row *rows; /**< [n] */
    size_t n;
    size_t capacity;
    cs_eval_bad *bad; /**< [n_bad] by line */
    size_t n_bad;
    size_t bad_capacity;
    char sha256[65]; /**< of the file */
} cs_eval_rows;

/** Read a file of rows. Dispose of `out` in every case. Returns an exit code; bad rows are none. */
int cs_eval_rows_read(const cs_eval_settings *settings, const costeer_eval_form *form, cs_eval_rows *out);

/** Leave out the rows that do not fit. Returns an exit code. */
int cs_eval_rows_fit(const costeer_eval *eval, cs_eval_rows *rows);

/** Say on standard error which rows are bad, by file and line. */
void cs_eval_rows_tell(const cs_eval_settings *settings, const cs_eval_rows *rows);

void cs_eval_rows_dispose(cs_eval_rows *rows);

/* ---- the table (cmd_eval_table.c) -------------------------------------------------------------------------------- */

/** Means per item. All zero: none. */
typedef struct cs_eval_table cs_eval_table;

cs_eval_table *cs_eval_table_create(const costeer_eval_item *items, size_t n_items);
void cs_eval_table_free(cs_eval_table *table);

/** Count a line of results. */
void cs_eval_table_add(cs_eval_table *table, size_t item, const json_t *line);

/** Print it, as text or as one JSON object. Returns an exit code. */
int cs_eval_table_print(const cs_eval_table *table, const cs_eval_settings *settings, const cs_eval_rows *rows);

/* ---- the folder (cmd_eval_folder.c) ------------------------------------------------------------------------------ */

/** The files of a run. */
typedef struct cs_eval_folder {
    const char *path;
    int lock_fd;   /**< the folder itself, locked; −1: not open */
    int fd;        /**< results.jsonl, locked and at its end; −1: not open */
    size_t n_done; /**< results that are there */
} cs_eval_folder;

/**
 * Make the folder or take up the run that is in it: the descriptions must be equal, and the results must be those of the first
 * rows and items. A last line without its end is cut off.
 *
 * @param run    what run.json is to hold
 * @param table  gets the results that are there
 * @return an exit code
 */
int cs_eval_folder_open(cs_eval_folder *folder, const char *path, const json_t *run, const cs_eval_rows *rows,
                        const costeer_eval_item *items, size_t n_items, cs_eval_table *table);

/** Append a line. Returns 0 or an errno value. */
int cs_eval_folder_append(cs_eval_folder *folder, const char *line, size_t n_bytes);

void cs_eval_folder_close(cs_eval_folder *folder);

/** Where two descriptions differ, as one line; "" when they do not. Returns buffer. */
const char *cs_eval_difference(const json_t *there, const json_t *wanted, char *buffer, size_t size);

/* ---- the description (cmd_eval_describe.c) ----------------------------------------------------------------------- */

/** What run.json tells of a run. */
typedef struct cs_eval_run {
    const cs_eval_settings *settings;
    const costeer_eval_form *form;
    const cs_eval_rows *rows;
    const costeer_eval_item *items;
    size_t n_items;
    const cs_pair *pair;
    const cs_remote *remote;
    const costeer_model *judge;
    const costeer_model *selector; /**< of --use needed; else NULL */
    const costeer_session_params *session;
    const cs_templates *templates;
    const char *amateur_template;
    const char *system;
} cs_eval_run;

/** NULL when memory is out. */
json_t *cs_eval_describe(const cs_eval_run *run);

/* ---- what of the contexts is used (cmd_eval_use.c) --------------------------------------------------------------- */

/** Check --use against the task and the other options. Returns an exit code. */
int cs_eval_use_check(const cs_eval_settings *settings);

/**
 * With --use needed or labelled: choose the parts of every row. The choices are kept in DIR/chosen.jsonl as they are made, and a
 * run that goes on takes them from there.
 *
 * @param selector  the model that is asked; NULL with labelled
 * @return an exit code
 */
int cs_eval_use_choose(const cs_eval_settings *settings, const costeer_model *selector, cs_eval_rows *rows);

/* ---- how far it is (cmd_eval_progress.c) ------------------------------------------------------------------------- */

typedef struct cs_eval_progress {
    cs_progress_kind kind;
    size_t n_all;
    size_t n_items;
    size_t n_first; /**< results that were there at the start */
    int64_t start_us;
    int64_t drawn_us;
} cs_eval_progress;

void cs_eval_progress_start(cs_eval_progress *progress, cs_progress_kind kind, size_t n_done, size_t n_all, size_t n_items);
void cs_eval_progress_draw(cs_eval_progress *progress, size_t n_done);
void cs_eval_progress_clear(const cs_eval_progress *progress);

#endif
