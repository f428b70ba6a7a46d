/*
 * JSON as parts, by byte ranges, which a JSON library does not give: elements of arrays and members of objects. A container that
 * is longer than a short record is opened, and its key is the heading of what is in it. Only the structure is read; strings and
 * numbers are not checked, because what looks like JSON and is not is no error in somebody's notes: it is then split as text.
 */
#include "core/select_internal.h"

#include <string.h>

/* A record up to this long is one part: its members say little without each other. */
#define RECORD_BYTES_MAX 240

/* Containers in containers; a deeper one is one part. */
#define DEPTH_MAX 64

static size_t skip_space(const char *text, size_t at, size_t end)
{
    while (at < end && strchr(" \t\r\n", text[at]) != NULL && text[at] != '\0') {
        at++;
    }
    return at;
}

/* Behind the string that begins at text[at]; 0: it has no end. */
static size_t skip_string(const char *text, size_t at, size_t end)
{
    for (at++; at < end; at++) {
        if (text[at] == '\\') {
            at++;
        } else if (text[at] == '"') {
            return at + 1;
        } else if (text[at] == '\n') {
            return 0;
        }
    }
    return 0;
}

/* Behind a number or a word. */
static size_t skip_word(const char *text, size_t at, size_t end)
{
    const size_t from = at;
    while (at < end && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", text[at]) != NULL && text[at] != '\0') {
        at++;
    }
    return at > from ? at : 0;
}

/* Behind a whole container, by its brackets alone; 0: they do not match. */
static size_t skip_container(const char *text, size_t at, size_t end)
{
    char open[DEPTH_MAX * 4];
    size_t depth = 0;
    while (at < end) {
        const char c = text[at];
        if (c == '"') {
            at = skip_string(text, at, end);
            if (at == 0) {
                return 0;
            }
            continue;
        }
        if (c == '{' || c == '[') {
            if (depth == sizeof open) {
                return 0;
            }
            open[depth++] = c == '{' ? '}' : ']';
        } else if (c == '}' || c == ']') {
            if (depth == 0 || open[--depth] != c) {
                return 0;
            }
            if (depth == 0) {
                return at + 1;
            }
        }
        at++;
    }
    return 0;
}

static size_t skip_value(const char *text, size_t at, size_t end)
{
    if (at == end) {
        return 0;
    }
    if (text[at] == '"') {
        return skip_string(text, at, end);
    }
    return text[at] == '{' || text[at] == '[' ? skip_container(text, at, end) : skip_word(text, at, end);
}

/* Where the value of the member or element at text[at] begins; 0: there is none. */
static size_t find_value(const char *text, size_t at, size_t end, bool is_object)
{
    if (!is_object) {
        return at;
    }
    if (at == end || text[at] != '"') {
        return 0;
    }
    at = skip_string(text, at, end);
    at = at == 0 ? 0 : skip_space(text, at, end);
    return at == 0 || at == end || text[at] != ':' ? 0 : skip_space(text, at + 1, end);
}

static bool walk(cs_splitter *splitter, size_t begin, size_t end, int32_t heading, int depth, bool is_dry);

/* A member or element: opened when it is a long container, else one part. */
static bool take(cs_splitter *splitter, size_t begin, size_t value, size_t end, int32_t heading, int depth, bool is_dry)
{
    const char first = splitter->text[value];
    const bool is_container = first == '{' || first == '[';
    if (is_dry) {
        return !is_container || depth >= DEPTH_MAX || walk(splitter, value, end, heading, depth + 1, true);
    }
    if (!is_container || end - value <= RECORD_BYTES_MAX || depth >= DEPTH_MAX) {
        (void)cs_splitter_add(splitter, begin, end, COSTEER_PART_RECORD, heading);
        return true;
    }
    if (value > begin) {
        const int32_t key = cs_splitter_add(splitter, begin, value, COSTEER_PART_HEADING, heading);
        heading = key >= 0 ? key : heading;
    }
    splitter->block++;
    return walk(splitter, value, end, heading, depth + 1, false);
}

/* The members of a container, text[begin, end) with its brackets. False: it is none. */
static bool walk(cs_splitter *splitter, size_t begin, size_t end, int32_t heading, int depth, bool is_dry)
{
    const char *text = splitter->text;
    const bool is_object = text[begin] == '{';
    size_t at = skip_space(text, begin + 1, end - 1);
    while (at < end - 1 && splitter->has_memory) {
        const size_t value = find_value(text, at, end - 1, is_object);
        const size_t behind = value == 0 ? 0 : skip_value(text, value, end - 1);
        if (behind == 0 || !take(splitter, at, value, behind, heading, depth, is_dry)) {
            return false;
        }
        at = skip_space(text, behind, end - 1);
        if (at == end - 1) {
            break;
        }
        const size_t next = skip_space(text, at + 1, end - 1);
        if (text[at] != ',' || next == end - 1) {
            return false;
        }
        at = next;
    }
    return true;
}

bool cs_splitter_add_json(cs_splitter *splitter, size_t begin, size_t end, int32_t heading, bool is_record)
{
    const char *text = splitter->text;
    begin = skip_space(text, begin, end);
    while (end > begin && skip_space(text, end - 1, end) == end) {
        end--;
    }
    if (end - begin < 2 || (text[begin] != '{' && text[begin] != '[') || skip_container(text, begin, end) != end ||
        !walk(splitter, begin, end, heading, 0, true)) {
        return false;
    }
    if (end - begin <= RECORD_BYTES_MAX && is_record) {
        (void)cs_splitter_add(splitter, begin, end, COSTEER_PART_RECORD, heading);
        return true;
    }
    return walk(splitter, begin, end, heading, 0, false);
}
