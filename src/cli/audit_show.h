/* What an audit holds, for a person. */
#ifndef CS_CLI_AUDIT_SHOW_H
#define CS_CLI_AUDIT_SHOW_H

#include "cli/audit_file.h"
#include "util/file.h"

#include <jansson.h>

/** Where words of the contexts stand in what was sent. */
typedef struct cs_audit_finding {
    json_t *runs;  /**< [{"place", "text", "violation"}] */
    json_t *words; /**< [{"word", "text", "stayed"}] of the contexts, in answers and in no request before; the sentence of each */
    json_t *parts; /**< {"used", "stayed"}; JSON null where the audit has no choice from these contexts */
    int64_t n_violations;
} cs_audit_finding;

/**
 * Look for contexts in an audit.
 *
 * @param contexts  [n_contexts] texts
 * @param[out] out  dispose of it in every case
 * @return an exit code
 */
int cs_audit_search(const cs_audit_file *audit, const char *const *contexts, size_t n_contexts, cs_audit_finding *out);

/** What cs_audit_search() sets as `words` (audit_words.c). NULL: no memory. */
json_t *cs_audit_list_words(const cs_audit_file *audit, const char *const *contexts, size_t n_contexts);

void cs_audit_finding_dispose(cs_audit_finding *finding);

/** Print counts, and a finding if there is one (NULL: nothing was looked for). */
void cs_audit_print(cs_output *out, const cs_audit_file *audit, const cs_audit_finding *finding);

#endif
