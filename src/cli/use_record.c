/*
 * What is written down of a choice, for --json, --trace and --audit. The audit gets places and no words: it is for whoever has
 * the context at hand.
 */
#include "cli/audit_parts.h"
#include "cli/use.h"

#include <stdlib.h>
#include <string.h>

json_t *cs_use_describe_time(const cs_use *use)
{
    return use->n > 0 ? json_real((double)use->choice_us / 1e3) : json_null();
}

bool cs_use_trace(const cs_use *use, cs_output *trace)
{
    if (use->n == 0) {
        return true;
    }
    json_t *line = json_pack("{s:o, s:o}", "selection", cs_use_describe(use), "select_ms", cs_use_describe_time(use));
    return line != NULL && cs_json_print(trace, line) == 0 && trace->error == 0;
}

/* [begin, end, begin, end, …] of the parts that can be chosen, or of what is used, headings among it. NULL: no memory. */
static json_t *list_places(const costeer_selection *of, bool used)
{
    json_t *list = json_array();
    int failed = 0;
    for (size_t i = 0; i < of->parts.n; i++) {
        const costeer_part *part = &of->parts.items[i];
        if (used ? of->is_used[i] : costeer_part_is_choosable(part)) {
            failed |= json_array_append_new(list, json_integer((json_int_t)part->begin));
            failed |= json_array_append_new(list, json_integer((json_int_t)part->end));
        }
    }
    if (failed != 0) {
        json_decref(list);
        return NULL;
    }
    return list;
}

char *cs_use_audit_line(const cs_chosen *chosen)
{
    char name[CS_AUDIT_CONTEXT_SIZE];
    cs_audit_name_context(chosen->context, name);
    json_t *line = json_pack("{s:s, s:i, s:n, s:s, s:[], s:s, s:o, s:o}", "kind", "selection", "bytes", 0, "position", "text", "",
                             "tokens", "context", name, "parts", list_places(&chosen->selection, false), "used",
                             list_places(&chosen->selection, true));
    char *text = line != NULL ? json_dumps(line, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(line);
    return text;
}
