/* Which parts of the contexts were used, as the lines "selection" of an audit say, and which words of the others were said all
 * the same. */
#ifndef CS_CLI_AUDIT_PARTS_H
#define CS_CLI_AUDIT_PARTS_H

#include "cli/audit_show.h"

#define CS_AUDIT_CONTEXT_SIZE 40

/** A text's length and a 64-bit sum by which it is recognised: "1234-89abcdef01234567". It protects nothing. */
void cs_audit_name_context(const char *context, char name[CS_AUDIT_CONTEXT_SIZE]);

/** True when the places of a line "selection" are such: pairs in order. */
bool cs_audit_places_are_right(const json_t *places);

/**
 * Count the parts of the contexts that were used in some answer, and those that were in none, and set "stayed" in each of the
 * words: whether it is of a part that was used in no answer, and of none that was.
 *
 * @param contexts  [n_contexts]; one that no line is about counts as used
 * @param words     as cs_audit_list_words() lists them
 * @return {"used", "stayed"}, JSON null where no line is about a context; NULL when memory is out
 */
json_t *cs_audit_find_parts(const cs_audit_file *audit, const char *const *contexts, size_t n_contexts, json_t *words);

#endif
