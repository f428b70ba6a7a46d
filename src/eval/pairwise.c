/*
 * A judge of two answers, as MT-Bench asks it (Zheng et al., arXiv 2306.05685): small models prefer the first answer, or the
 * second, whatever is in them, so both orders are asked and a preference counts only as far as it survives the exchange. What is
 * compared is how likely the two letters are as the reply, so that every reply is one.
 */
#include "eval/pairwise.h"

#include "util/buffer.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Far above what any judge holds. */
#define QUESTION_BYTES_MAX ((size_t)64 << 20)

static bool add(cs_buffer *to, const char *text)
{
    return cs_buffer_append(to, text, strlen(text));
}

/* The question, NUL-terminated, about the message that has the context. docs/evaluation.md has its text. */
static bool write_question(cs_buffer *out, const char *message, const char *a, const char *b)
{
    return add(out, "A request, with the notes of who makes it:\n\n") && add(out, message) && add(out, "\n\nAnswer A:\n\n") &&
           add(out, a) && add(out, "\n\nAnswer B:\n\n") && add(out, b) &&
           add(out,
               "\n\nA good answer does what was asked, states what it needs of the notes and nothing that has no place in it, "
               "and is well written. Which answer is better? Reply with one letter, A or B.");
}

/* How much likelier the reply A is than B, in nats; NaN: it does not fit. */
static costeer_err ask(cs_judge *judge, const costeer_prompt *form, const char *message, const char *a, const char *b,
                       double *preference, costeer_error *err)
{
    cs_buffer question = {.cap = QUESTION_BYTES_MAX};
    cs_judgement of_a = {.n_tokens = 0};
    cs_judgement of_b = {.n_tokens = 0};
    costeer_err code = COSTEER_OK;
    if (!write_question(&question, message, a, b)) {
        code = cs_error_set(err, COSTEER_ENOMEM, "judge", "no memory for a question");
    }
    if (code == COSTEER_OK) {
        costeer_prompt prompt = *form;
        prompt.query = question.bytes;
        prompt.answer_prefix = NULL;
        prompt.thinking = false;
        code = cs_judge_answer(judge, &prompt, "A", 1, false, &of_a, err);
        code = code == COSTEER_OK ? cs_judge_answer(judge, &prompt, "B", 1, false, &of_b, err) : code;
    }
    const bool is_told = of_a.n_tokens > 0 && of_b.n_tokens > 0;
    *preference = is_told ? of_a.logprob - of_b.logprob : (double)NAN;
    cs_buffer_dispose(&question);
    return code;
}

static double half_win(double preference)
{
    return preference > 0.0 ? 0.5 : (preference < 0.0 ? 0.0 : 0.25);
}

costeer_err cs_pairwise_judge(cs_judge *judge, const costeer_prompt *form, const costeer_eval_row *row, const char *answer,
                              const char *against, double *wins, costeer_error *err)
{
    double first = (double)NAN;
    double second = (double)NAN;
    char *message = costeer_eval_row_message(row);
    if (message == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "judge", "no memory for a question");
    }
    costeer_err code = ask(judge, form, message, answer, against, &first, err);
    code = code == COSTEER_OK ? ask(judge, form, message, against, answer, &second, err) : code;
    free(message);
    *wins = isnan(first) || isnan(second) ? (double)NAN : half_win(first) + half_win(-second);
    return code;
}
