/*
 * What is done before the first word can come: loading models, and reading prompts. On a terminal it is one line of standard
 * error that is rewritten; elsewhere, with --verbose, lines that stay.
 */
#ifndef CS_CLI_PROGRESS_H
#define CS_CLI_PROGRESS_H

#include <costeer/model.h>
#include <pthread.h>
#include <stdint.h>

typedef enum cs_progress_kind {
    CS_PROGRESS_NONE,
    CS_PROGRESS_REWRITTEN, /**< a line on a terminal */
    CS_PROGRESS_LINES,
} cs_progress_kind;

/** How progress is shown, given --quiet and --verbose. */
cs_progress_kind cs_progress_kind_of(bool quiet, bool verbose);

/* ---- loading a model --------------------------------------------------------------------------------------------- */

typedef struct cs_load_progress {
    cs_progress_kind kind;
    const char *name; /**< of the file */
    int64_t start_us;
    int64_t shown_us;
    bool is_there; /**< a line stands on the terminal */
} cs_load_progress;

void cs_load_progress_start(cs_load_progress *progress, cs_progress_kind kind, const char *path);

/** A costeer_model_progress_fn; the user is the progress. Ends loading when the program was interrupted. */
bool cs_load_progress_show(float share, void *user);
void cs_load_progress_end(cs_load_progress *progress, bool is_loaded);

/* ---- downloading ------------------------------------------------------------------------------------------------- */

typedef struct cs_transfer_progress {
    cs_progress_kind kind;
    int64_t start_us; /* 0: nothing has come yet */
    int64_t shown_us;
    bool is_there;
} cs_transfer_progress;

void cs_transfer_progress_start(cs_transfer_progress *progress, cs_progress_kind kind);

/** Show how far a download is: megabytes, rate, and the time left at that rate. */
void cs_transfer_progress_show(cs_transfer_progress *progress, const char *file, uint64_t bytes_done, uint64_t bytes_all,
                               uint64_t bytes_got);

/** A line that stays, unless progress is not shown. */
void cs_transfer_progress_note(cs_transfer_progress *progress, const char *file, const char *note);
void cs_transfer_progress_end(cs_transfer_progress *progress);

/* ---- reading prompts --------------------------------------------------------------------------------------------- */

typedef struct cs_prompt_progress {
    cs_progress_kind kind;
    pthread_mutex_t mutex; /* two models report */
    struct {
        size_t n_done;
        size_t n_all;
    } models[2]; /* LLM, SLM; 0 of 0 after the end */
    int64_t start_us;
    int64_t shown_us;
    bool is_there;
} cs_prompt_progress;

void cs_prompt_progress_init(cs_prompt_progress *progress, cs_progress_kind kind);

/** A costeer_prompt_progress_fn; the user is the progress. The line goes when all that was begun is read. */
void cs_prompt_progress_show(const costeer_prompt_progress *step, void *user);

/** Before anything else is written to standard error: the line goes, if there is one. */
void cs_prompt_progress_clear(cs_prompt_progress *progress);
void cs_prompt_progress_dispose(cs_prompt_progress *progress);

#endif
