/* Lists in a row: texts, names, and the labelled parts of a context. */
#ifndef CS_EVAL_ROW_PARTS_H
#define CS_EVAL_ROW_PARTS_H

#include <costeer/eval.h>
#include <jansson.h>

/**
 * Read a list of texts of at most COSTEER_EVAL_FACTS_MAX, none of them empty.
 *
 * @param list      NULL or null: none
 * @param[out] out  [*n] one block with pointers and texts, to be freed; NULL: none
 */
costeer_err cs_row_read_texts(const json_t *list, const char *field, char ***out, size_t *n, costeer_error *err);

/** Read split, names and parts of a row whose task is LABELLED; `context` is its field. What was read is the row's in every case.
 */
costeer_err cs_row_read_labelled(const costeer_eval_form *form, const json_t *object, costeer_eval_row *out, costeer_error *err);

/** Free what cs_row_read_labelled() has read. */
void cs_row_free_labelled(costeer_eval_row *row);

#endif
