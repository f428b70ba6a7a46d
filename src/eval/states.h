/* Whether a text states a string: docs/evaluation.md, "Stated". */
#ifndef CS_EVAL_STATES_H
#define CS_EVAL_STATES_H

#include <stdbool.h>

/** Fold a text: lower case, ASCII for full width, one kind of hyphen, apostrophe and space. malloc'ed; NULL when memory is out.
 */
char *cs_states_fold(const char *text);

/** True when a folded text has a folded string, at the boundaries of words. */
bool cs_states_find(const char *text, const char *string);

#endif
