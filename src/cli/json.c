/* Over jansson: it writes 17 significant digits and refuses what is not UTF-8; the rest of our rules are here. */
#include "cli/json.h"

#include "cli/message.h"
#include "cli/text.h"
#include "util/utf8.h"

#include <math.h>

json_t *cs_json_number(double value)
{
    if (isfinite(value)) {
        return json_real(value);
    }
    return json_string(isnan(value) ? "nan" : (value < 0.0 ? "-inf" : "inf"));
}

json_t *cs_json_text(const char *bytes, size_t n_bytes)
{
    cs_buffer text = {.cap = SIZE_MAX};
    json_t *string =
        cs_text_append_valid(&text, bytes, n_bytes) ? json_stringn(n_bytes > 0 ? text.bytes : "", text.n_bytes) : NULL;
    cs_buffer_dispose(&text);
    return string;
}

int cs_json_set_piece(json_t *object, const char *bytes, size_t n_bytes)
{
    int failed = json_object_set_new(object, "text", cs_json_text(bytes, n_bytes));
    if (!cs_utf8_check(bytes, n_bytes, NULL)) {
        json_t *array = json_array();
        for (size_t i = 0; i < n_bytes; i++) {
            failed |= json_array_append_new(array, json_integer((unsigned char)bytes[i]));
        }
        failed |= json_object_set_new(object, "bytes", array);
    }
    return failed != 0 ? -1 : 0;
}

json_t *cs_json_ids(const int32_t *ids, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        if (json_array_append_new(array, json_integer(ids[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static int write_chunk(const char *bytes, size_t n_bytes, void *user)
{
    cs_output *out = user;
    return cs_output_write(out, bytes, n_bytes) ? 0 : -1;
}

int cs_json_print(cs_output *out, json_t *value)
{
    if (value == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    int failed = json_dump_callback(value, write_chunk, out, JSON_ENCODE_ANY);
    json_decref(value);
    cs_output_write(out, "\n", 1);
    if (failed != 0 && out->error == 0) {
        return cs_fail(CS_EXIT_INTERNAL, "a result could not be written as JSON");
    }
    return CS_EXIT_OK;
}
