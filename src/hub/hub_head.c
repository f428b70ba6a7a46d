/* The head of a response, line by line: nothing that is said there is trusted, and only what the client acts on is kept. */
#include "hub/hub_http.h"

#include "util/parse.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static int64_t read_number(const char *text)
{
    char digits[24] = "";
    uint64_t value;
    const size_t n = strspn(text, "0123456789");
    if (n == 0 || n >= sizeof digits) {
        return -1;
    }
    memcpy(digits, text, n);
    return cs_parse_uint64(digits, &value) == CS_PARSE_OK && value <= INT64_MAX ? (int64_t)value : -1;
}

/* <https://…>; rel="prev", <https://…>; rel="next" */
static void read_link(const char *value, char out[CS_HUB_URL_MAX])
{
    const char *begin = strchr(value, '<');
    while (begin != NULL) {
        const char *end = strchr(begin, '>');
        const char *following = end != NULL ? strchr(end, '<') : NULL;
        const char *next = end != NULL ? strstr(end, "rel=\"next\"") : NULL;
        if (next != NULL && (following == NULL || next < following)) {
            memcpy(out, begin + 1, (size_t)(end - begin) - 1); /* a line is shorter than `out` */
            out[end - begin - 1] = '\0';
        }
        begin = following;
    }
}

static void read_header(cs_hub_head *head, const char *name, const char *value)
{
    if (strcasecmp(name, "location") == 0) {
        (void)snprintf(head->location, sizeof head->location, "%s", value);
    } else if (strcasecmp(name, "x-error-code") == 0) {
        (void)snprintf(head->error_code, sizeof head->error_code, "%s", value);
    } else if (strcasecmp(name, "link") == 0) {
        read_link(value, head->next);
    } else if (strcasecmp(name, "content-range") == 0 && strncasecmp(value, "bytes ", 6) == 0) {
        head->range_begin = read_number(value + 6);
    } else if (strcasecmp(name, "retry-after") == 0) {
        head->retry_after_s = read_number(value);
    }
}

void cs_hub_head_forget(cs_hub_head *head)
{
    *head = (cs_hub_head){.range_begin = -1, .retry_after_s = -1};
}

void cs_hub_head_read_line(cs_hub_head *head, const char *bytes, size_t n_bytes)
{
    char line[CS_HUB_URL_MAX];
    if (n_bytes >= sizeof line) {
        return; /* nothing that is asked for is so long */
    }
    memcpy(line, bytes, n_bytes);
    line[n_bytes] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    char *colon = strchr(line, ':');
    if (strncmp(line, "HTTP/", 5) == 0) {
        cs_hub_head_forget(head);
    } else if (colon != NULL) {
        *colon = '\0';
        read_header(head, line, colon + 1 + strspn(colon + 1, " \t"));
    }
}
