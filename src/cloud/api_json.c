/*
 * Reading JSON that an engine sent: every access checks the type, and an error names the field. NaN and Infinity, which some
 * Python servers write, are no JSON; jansson refuses them.
 */
#include "cloud/api_dialect.h"
#include "util/error.h"

#include <stdlib.h>
#include <string.h>

costeer_err cs_api_json_parse(const char *text, size_t n, json_t **out, costeer_error *err)
{
    json_error_t where;
    /* a token may be the byte 0; of a key that comes twice only one value would be seen */
    *out = json_loadb(text, n, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &where);
    if (*out != NULL) {
        return COSTEER_OK;
    }
    /* where, but nothing of the text: it may be the answer's, with what the context put into it */
    const char *what = json_error_code(&where) == json_error_duplicate_key ? "a key comes twice" : "it is broken or cut off";
    return cs_error_set(err, COSTEER_ECLOUD, "cloud", "the engine's answer is no JSON: %s at byte %d", what, where.position);
}

costeer_err cs_api_json_refuse(const char *where, const char *what, costeer_error *err)
{
    return cs_error_set(err, COSTEER_ECLOUD, "cloud", "the engine's answer: %s: %s", where, what);
}

costeer_err cs_api_json_int(const json_t *value, const char *where, int64_t min, int64_t max, int64_t *out, costeer_error *err)
{
    if (!json_is_integer(value)) {
        return cs_api_json_refuse(where, value == NULL ? "missing" : "no whole number", err);
    }
    *out = (int64_t)json_integer_value(value);
    return *out >= min && *out <= max ? COSTEER_OK : cs_api_json_refuse(where, "out of range", err);
}

costeer_err cs_api_json_number(const json_t *value, const char *where, double *out, costeer_error *err)
{
    if (!json_is_number(value)) {
        return cs_api_json_refuse(where, value == NULL ? "missing" : "no number", err);
    }
    *out = json_number_value(value);
    return COSTEER_OK;
}

int64_t cs_api_json_int_or(const json_t *object, const char *key, int64_t missing)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? (int64_t)json_integer_value(value) : missing;
}

costeer_err cs_api_json_member(const json_t *object, const char *key, json_type type, const json_t **out, costeer_error *err)
{
    *out = json_object_get(object, key);
    if (*out == NULL) {
        return cs_api_json_refuse(key, json_is_object(object) ? "missing" : "not in an object", err);
    }
    return json_typeof(*out) == type ? COSTEER_OK : cs_api_json_refuse(key, type == JSON_ARRAY ? "no array" : "no object", err);
}

void cs_api_json_message(const json_t *answer, char *out, size_t n)
{
    const json_t *error = json_object_get(answer, "error");
    const json_t *found = json_is_object(error) ? json_object_get(error, "message") : error;
    found = json_is_string(found) ? found : json_object_get(answer, "message");
    found = json_is_string(found) ? found : json_object_get(answer, "detail");
    const char *text = json_is_string(found) ? json_string_value(found) : "";
    size_t length = 0;
    for (; length + 1 < n && text[length] != '\0'; length++) {
        out[length] = (unsigned char)text[length] < ' ' || text[length] == 0x7F ? ' ' : text[length];
    }
    while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) {
        length--; /* not in the middle of a character */
    }
    out[length] = '\0';
}

int32_t cs_api_json_limit(const json_t *answer)
{
    /* vLLM's own check of --max-logprobs, and pydantic's of a field */
    static const char *const phrases[] = {"max allowed: ", "less than or equal to "};
    char message[512];
    cs_api_json_message(answer, message, sizeof message);
    for (size_t i = 0; i < sizeof phrases / sizeof phrases[0]; i++) {
        const char *found = strstr(message, phrases[i]);
        const long long limit = found != NULL ? strtoll(found + strlen(phrases[i]), NULL, 10) : 0;
        if (limit > 0 && limit <= INT32_MAX) {
            return (int32_t)limit;
        }
    }
    return 0;
}

json_t *cs_api_json_ids(const int32_t *ids, size_t n)
{
    json_t *out = json_array();
    for (size_t i = 0; out != NULL && i < n; i++) {
        if (json_array_append_new(out, json_integer(ids[i])) != 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}
