/* The tasks as data, as published; docs/evaluation.md shows the prompts that come of them. */
#include "util/error.h"

#include <costeer/eval.h>
#include <string.h>

/* Longest answer in the published runs, and the system message of all their prompts. */
#define PUBLISHED_MAX_TOKENS 1024
#define PUBLISHED_SYSTEM     "You are a helpful assistant."

#define PUBLISHED .system = PUBLISHED_SYSTEM, .max_tokens = PUBLISHED_MAX_TOKENS

static const costeer_eval_task tasks[] = {
    {.name = "cogenesis", .summary = "requests with a profile and a history of writing", .shape = COSTEER_EVAL_PAIRED, PUBLISHED},
    {.name = "longlamp_abstract",
     .summary = "abstracts of papers in the author's manner",
     .shape = COSTEER_EVAL_RECORDS,
     .heading = "The following are titles of an author's papers with their abstracts.",
     .record = {"title", "abstract"},
     .record_as = {"Title", "Abstract"},
     PUBLISHED},
    {.name = "longlamp_review",
     .summary = "product reviews in the user's manner",
     .shape = COSTEER_EVAL_RECORDS,
     .heading = "The following are descriptions of products with a user's reviews of them.",
     .record = {"description", "reviewText"},
     .record_as = {"Product", "Review"},
     PUBLISHED},
    {.name = "longlamp_writing",
     .summary = "posts in the author's manner",
     .shape = COSTEER_EVAL_RECORDS,
     .heading = "The following are summaries of an author's reddit posts with their content.",
     .record = {"summary", "content"},
     .record_as = {"Summary", "Content"},
     PUBLISHED},
    {.name = "helpsteer", .summary = "questions, with a preference", .shape = COSTEER_EVAL_PREFERENCE, PUBLISHED},
    {.name = "personal_preference_eval", .summary = "questions, with a preference", .shape = COSTEER_EVAL_PREFERENCE, PUBLISHED},
    {.name = "truthfulqa", .summary = "questions, with a preference", .shape = COSTEER_EVAL_PREFERENCE, PUBLISHED},
    {.name = "ultrachat", .summary = "questions, with a preference", .shape = COSTEER_EVAL_PREFERENCE, PUBLISHED},
    {.name = "requests",
     .summary = "requests with notes whose parts are needed, fine or inappropriate",
     .shape = COSTEER_EVAL_LABELLED,
     .record = {"note", "any"},
     .max_tokens = 256},
    {.name = "cimemories",
     .summary = "messages from a person with some hundred memories",
     .shape = COSTEER_EVAL_LABELLED,
     .record = {"statement", "strings"},
     .max_tokens = 512},
    {.name = "generic", .summary = "any set: its fields are named by options", .shape = COSTEER_EVAL_FIELDS, .max_tokens = 256},
};

#define N_TASKS (sizeof tasks / sizeof tasks[0])

const costeer_eval_task *costeer_eval_task_list(size_t *n)
{
    *n = N_TASKS;
    return tasks;
}

const costeer_eval_task *costeer_eval_task_find(const char *name)
{
    for (size_t i = 0; name != NULL && i < N_TASKS; i++) {
        if (strcmp(tasks[i].name, name) == 0) {
            return &tasks[i];
        }
    }
    return NULL;
}

/* ---- the form ---------------------------------------------------------------------------------------------------- */

static bool is_preference(const char *text)
{
    const size_t length = strlen(text);
    for (const char *choice = COSTEER_EVAL_PREFERENCES; *choice != '\0';) {
        const size_t n = strcspn(choice, "|");
        if (n == length && strncmp(choice, text, n) == 0) {
            return true;
        }
        choice += n + (choice[n] == '|' ? 1 : 0);
    }
    return false;
}

static costeer_err check_preference(const costeer_eval_form *form, costeer_error *err)
{
    const char *name = form->task->name;
    const bool takes_one = form->task->shape == COSTEER_EVAL_PREFERENCE;
    if (takes_one && form->preference == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "task %s needs a preference: one of %s", name, COSTEER_EVAL_PREFERENCES);
    }
    if (!takes_one && form->preference != NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "task %s takes no preference; its rows have their own contexts", name);
    }
    if (takes_one && !is_preference(form->preference)) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "\"%.40s\" is not a preference; give one of %s", form->preference,
                            COSTEER_EVAL_PREFERENCES);
    }
    return COSTEER_OK;
}

static costeer_err check_split(const costeer_eval_form *form, costeer_error *err)
{
    const char *split = form->split;
    if (split != NULL && form->task->shape != COSTEER_EVAL_LABELLED) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "task %s has no splits; leave the split out", form->task->name);
    }
    if (split != NULL && strcmp(split, "dev") != 0 && strcmp(split, "test") != 0) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "\"%.40s\" is not a split; give dev or test", split);
    }
    return COSTEER_OK;
}

static costeer_err check_own(const costeer_eval_form *form, costeer_error *err)
{
    const char *const own[] = {form->query_field, form->context_field, form->reference_field, form->facts_field, form->id_field};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (own[i] != NULL && form->task->shape != COSTEER_EVAL_FIELDS) {
            return cs_error_set(err, COSTEER_EINVAL, "eval", "task %s has its own fields; only task generic can be told them",
                                form->task->name);
        }
        if (own[i] != NULL && own[i][0] == '\0') {
            return cs_error_set(err, COSTEER_EINVAL, "eval", "a field's name is empty");
        }
    }
    return COSTEER_OK;
}

static costeer_err check_template(const costeer_eval_form *form, costeer_error *err)
{
    const char *template = form->context_template;
    if (template != NULL && form->task->shape != COSTEER_EVAL_FIELDS && form->task->shape != COSTEER_EVAL_LABELLED) {
        return cs_error_set(err, COSTEER_EINVAL, "eval",
                            "task %s has its own template; only generic, requests and cimemories can be told one",
                            form->task->name);
    }
    if (template != NULL && (strstr(template, "{context}") == NULL || strstr(template, "{query}") == NULL)) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "the context template needs {context} and {query}");
    }
    return COSTEER_OK;
}

costeer_err costeer_eval_form_check(const costeer_eval_form *form, costeer_error *err)
{
    if (form == NULL || form->task == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "a form needs a task");
    }
    costeer_err code = check_preference(form, err);
    code = code == COSTEER_OK ? check_split(form, err) : code;
    code = code == COSTEER_OK ? check_own(form, err) : code;
    return code == COSTEER_OK ? check_template(form, err) : code;
}
