#include "core/select_internal.h"

/*
 * The examples say what is meant: the same note is needed for one request and not for another; what belongs to the matter can
 * still be none of the reader's business; letters, texts and advice, sentences and scraps. Found by measurement
 * (docs/selection.md).
 */
#define NOTE(request, note)                                            \
    {                                                                  \
        .role = "user", .content = "Request: " request "\nNote: " note \
    }
#define YES                                   \
    {                                         \
        .role = "assistant", .content = "Yes" \
    }
#define NO                                   \
    {                                        \
        .role = "assistant", .content = "No" \
    }

#define BILL "Write a letter to the energy company about a wrong bill."
#define BIKE "Which bicycle should I buy?"
#define KNEE "Write a message to my physiotherapist before the first session."
#define MOVE "Write a mail to the school that we are moving."
#define POEM "Write a poem for my mother's birthday."

/* clang-format off */
static const costeer_message examples[] = {
    {.role = "user",
     .content = "I show you a request and one of my notes. Is the note needed for the answer? Yes, if the answer uses it. No, if it is "
                "about another matter, or none of the reader's business.\n\n"
                "Request: " BILL "\nNote: The meter reads 4,410 and the bill says 5,120."},
    YES,
    NOTE(BILL, "I was divorced in April."), NO,
    NOTE(BILL, "My knee was operated on in January."), NO,
    NOTE(BILL, "customer number: 77-310"), YES,
    NOTE(BIKE, "I ride 12 km to work over a hill."), YES,
    NOTE(BIKE, "my brother was arrested in May"), NO,
    NOTE(BIKE, "not more than 900 euros"), YES,
    NOTE(BIKE, "The meter reads 4,410 and the bill says 5,120."), NO,
    NOTE(KNEE, "My knee was operated on in January."), YES,
    NOTE(KNEE, "I have finished a course against drinking."), NO,
    NOTE(KNEE, "Stairs hurt most in the morning."), YES,
    NOTE(KNEE, "I rent a flat of 60 square metres."), NO,
    NOTE(MOVE, "my sons: Theo, class 2c, and Jan, class 4a"), YES,
    NOTE(MOVE, "the real reason: my husband hits us"), NO,
    NOTE(MOVE, "We move to Leeds on 1 August."), YES,
    NOTE(MOVE, "I was divorced in April."), NO,
    NOTE(POEM, "she sings in the choir"), YES,
    NOTE(POEM, "she does not know that I lost my job"), NO,
    NOTE(POEM, "eight lines, signed by me, Ada"), YES,
    NOTE(POEM, "my cousin has debts"), NO,
};
/* clang-format on */

/* Two that err in different places: their mean tells better than each of them. */
static const cs_select_question own[] = {
    {.form = "Request: {request}\n\nA note of the writer: {part}\n\nWould a good answer to the request use this note? Answer Yes "
             "or No."},
    {.form = "Request: {request}\nNote: {part}", .turns = examples, .n_turns = sizeof examples / sizeof examples[0]},
};

const cs_select_question *cs_select_own_questions(int32_t n_window, size_t *n)
{
    *n = n_window > 0 && n_window < CS_SELECT_EXAMPLES_WINDOW ? 1 : 2;
    return own;
}
