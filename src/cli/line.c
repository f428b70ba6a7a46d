/*
 * libedit on a terminal, and a plain reader of bytes elsewhere. Both wait in one function, so that a signal ends the waiting at
 * once and a connection hears of us while nothing is typed.
 *
 * The history holds questions, which the cloud has seen, and commands, which name files. It is readable by its owner only, stays
 * in the user's state folder (XDG Base Directory Specification), and a failure to write it is told and no more.
 */
#include "cli/line.h"

#include "cli/message.h"
#include "cli/signals.h"
#include "util/buffer.h"
#include "util/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

/* As other texts of the command line (inputs.c). */
#define LINE_BYTES_MAX ((size_t)16 << 20)

#define HISTORY_LINES 1000
#define PATH_BYTES    4096

struct cs_line_reader {
    cs_line_params params;
    EditLine *edit; /* NULL: no terminal */
    History *history;
    char path[PATH_BYTES]; /* of the history, "": none */
    cs_buffer line;
    char bytes[4096]; /* read and not used yet */
    size_t n_bytes;
    size_t at;
    bool is_interrupted;
    bool is_continued; /* the line goes on: the prompt says so */
};

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

/* The shell had the terminal in its own mode, or the size is another one: what is typed is shown again from the line's beginning.
 */
static void redraw(cs_line_reader *reader)
{
    FILE *shown = NULL;
    (void)el_get(reader->edit, EL_GETFP, 1, &shown);
    (void)fputs("\r\x1b[K", shown != NULL ? shown : stderr);
    (void)el_set(reader->edit, EL_PREP_TERM, 0); /* else it takes its own mode to be set still */
    (void)el_set(reader->edit, EL_PREP_TERM, 1);
    el_resize(reader->edit);
    (void)el_set(reader->edit, EL_REFRESH);
}

/* The next byte; −1: a signal; −2: the end. */
static int next_byte(cs_line_reader *reader)
{
    while (reader->at == reader->n_bytes) {
        const int ready = cs_interrupt_wait_readable_for(STDIN_FILENO, CS_LINE_IDLE_MS);
        if (reader->edit != NULL && cs_terminal_changed()) {
            redraw(reader);
        }
        if (ready < 0 && cs_interrupted()) {
            return -1;
        }
        if (ready < 0) {
            continue;
        }
        if (ready == 0) {
            reader->params.on_idle(reader->params.user);
            continue;
        }
        /* A terminal's bytes are taken one by one: those of later lines are for whoever reads it then. */
        const ssize_t n = read(STDIN_FILENO, reader->bytes, reader->edit != NULL ? 1 : sizeof reader->bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return -2;
        }
        reader->n_bytes = (size_t)n;
        reader->at = 0;
    }
    return (unsigned char)reader->bytes[reader->at++];
}

/* libedit's way to a character. */
static int get_character(EditLine *edit, wchar_t *out)
{
    void *user = NULL;
    mbstate_t state;
    memset(&state, 0, sizeof state);
    (void)el_get(edit, EL_CLIENTDATA, &user);
    cs_line_reader *reader = user;
    for (;;) {
        const int byte = next_byte(reader);
        if (byte < 0) {
            reader->is_interrupted = byte == -1;
            *out = L'\0';
            return byte == -1 ? -1 : 0;
        }
        const char c = (char)byte;
        const size_t n = mbrtowc(out, &c, 1, &state);
        if (n == (size_t)-1) {
            memset(&state, 0, sizeof state); /* not of the locale: as if it had not been typed */
        } else if (n != (size_t)-2) {
            return 1;
        }
    }
}

static cs_line_end refuse_long(void)
{
    cs_fail(CS_EXIT_INPUT, "a line is longer than %zu MiB; give long texts with /context", LINE_BYTES_MAX >> 20);
    return CS_LINE_BAD;
}

/* ---- a paste ----------------------------------------------------------------------------------------------------- */

/* A terminal that is told to marks what is pasted (bracketed paste), so that a line end in it does not send a line. */
#define PASTE_ON    "\x1b[?2004h"
#define PASTE_OFF   "\x1b[?2004l"
#define PASTE_BEGIN "\x1b[200~"
#define PASTE_END   "\x1b[201~"

static void mark_pastes(const cs_line_reader *reader, const char *how)
{
    const char *term = getenv("TERM");
    FILE *shown = NULL;
    (void)el_get(reader->edit, EL_GETFP, 1, &shown);
    if (shown != NULL && term != NULL && strcmp(term, "dumb") != 0) {
        (void)fputs(how, shown);
        (void)fflush(shown);
    }
}

/* All bytes up to the mark; of a paste that is too long its last ones. False: the end or a signal came before it. */
static bool read_paste(cs_line_reader *reader, cs_buffer *pasted, bool *is_long)
{
    static const size_t n_mark = sizeof PASTE_END - 1;
    for (;;) {
        const int byte = next_byte(reader);
        if (byte < 0) {
            reader->is_interrupted = byte == -1;
            return false;
        }
        const char c = byte == '\r' ? '\n' : (char)byte;
        if (byte != '\0' && !cs_buffer_append(pasted, &c, 1)) {
            *is_long = true;
            pasted->n_bytes = 0;
        }
        if (pasted->n_bytes >= n_mark && memcmp(pasted->bytes + pasted->n_bytes - n_mark, PASTE_END, n_mark) == 0) {
            pasted->n_bytes -= n_mark;
            pasted->bytes[pasted->n_bytes] = '\0';
            return true;
        }
    }
}

/* The command that PASTE_BEGIN is bound to. Line ends at the end are left out: Enter sends what was pasted. */
static unsigned char insert_paste(EditLine *edit, int key)
{
    void *user = NULL;
    (void)key;
    (void)el_get(edit, EL_CLIENTDATA, &user);
    cs_line_reader *reader = user;
    cs_buffer pasted = {.cap = LINE_BYTES_MAX};
    bool is_long = false;
    if (!read_paste(reader, &pasted, &is_long)) {
        cs_buffer_dispose(&pasted);
        return CC_EOF;
    }
    if (is_long) {
        cs_buffer_dispose(&pasted);
        (void)refuse_long();
        return CC_REDISPLAY;
    }
    while (pasted.n_bytes > 0 && pasted.bytes[pasted.n_bytes - 1] == '\n') {
        pasted.bytes[--pasted.n_bytes] = '\0';
    }
    const bool ok = pasted.n_bytes == 0 || el_insertstr(edit, pasted.bytes) == 0;
    cs_buffer_dispose(&pasted);
    return ok ? CC_REFRESH : CC_ERROR;
}

/* ---- history ----------------------------------------------------------------------------------------------------- */

/* Where it is, its folder made if need be. */
static bool find_history(char *path, size_t size)
{
    static const struct {
        const char *variable;
        const char *below;
    } places[] = {{"XDG_STATE_HOME", ""}, {"HOME", "/.local/state"}};
    for (size_t i = 0; i < 2; i++) {
        const char *value = getenv(places[i].variable);
        if (value == NULL || value[0] != '/') { /* a relative path is to be ignored (XDG) */
            continue;
        }
        const int n = snprintf(path, size, "%s%s/costeer/chat_history", value, places[i].below);
        return n > 0 && (size_t)n < size;
    }
    return false;
}

static bool make_folders(const char *path)
{
    char folder[PATH_BYTES];
    (void)snprintf(folder, sizeof folder, "%s", path);
    for (char *slash = strchr(folder + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, S_IRWXU) != 0 && errno != EEXIST) {
            return false;
        }
        *slash = '/';
    }
    return true;
}

static void load_history(cs_line_reader *reader)
{
    HistEvent event;
    reader->history = history_init();
    if (reader->history == NULL) {
        return;
    }
    (void)history(reader->history, &event, H_SETSIZE, HISTORY_LINES);
    (void)history(reader->history, &event, H_SETUNIQUE, 1);
    (void)el_set(reader->edit, EL_HIST, history, reader->history);
    if (!reader->params.has_history || !find_history(reader->path, sizeof reader->path)) {
        reader->path[0] = '\0';
        return;
    }
    (void)history(reader->history, &event, H_LOAD, reader->path); /* the first time there is none */
}

/* In its place when it is complete; whoever may read it is settled before the first byte. */
static bool write_history(const cs_line_reader *reader)
{
    char temporary[PATH_BYTES + 8];
    HistEvent event;
    (void)snprintf(temporary, sizeof temporary, "%s.XXXXXX", reader->path);
    if (!make_folders(reader->path)) {
        return false;
    }
    const int fd = mkstemp(temporary); /* mode 0600 */
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL) {
        if (fd >= 0) {
            (void)close(fd);
            (void)unlink(temporary);
        }
        return false;
    }
    bool ok = history(reader->history, &event, H_SAVE_FP, file) >= 0;
    ok = fclose(file) == 0 && ok;
    ok = ok && rename(temporary, reader->path) == 0;
    if (!ok) {
        const int error = errno;
        (void)unlink(temporary);
        errno = error;
    }
    return ok;
}

static void save_history(const cs_line_reader *reader)
{
    HistEvent event;
    if (reader->path[0] == '\0' || history(reader->history, &event, H_GETSIZE) < 0 || event.num == 0) {
        return;
    }
    if (!write_history(reader)) {
        cs_fail(CS_EXIT_OK, "%s: the history was not written: %s; --no-history goes without", reader->path, strerror(errno));
    }
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static char *prompt(EditLine *edit)
{
    static char first[] = "> ";
    static char more[] = "  ";
    void *user = NULL;
    (void)el_get(edit, EL_CLIENTDATA, &user);
    return ((const cs_line_reader *)user)->is_continued ? more : first;
}

/* What libedit is given must be UTF-8, whatever the locale says; a terminal that is none shows what it can. */
static void use_utf8(void)
{
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) {
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    }
}

static bool open_terminal(cs_line_reader *reader)
{
    use_utf8();
    /* The prompt is for the person, and no part of what is written. */
    FILE *shown = isatty(STDERR_FILENO) == 1 ? stderr : stdout;
    reader->edit = el_init("costeer", stdin, shown, stderr);
    if (reader->edit == NULL) {
        return false;
    }
    (void)el_set(reader->edit, EL_CLIENTDATA, reader);
    (void)el_set(reader->edit, EL_SIGNAL, 0);
    (void)el_set(reader->edit, EL_EDITOR, "emacs");
    (void)el_set(reader->edit, EL_PROMPT, prompt);
    (void)el_set(reader->edit, EL_GETCFN, get_character);
    (void)el_set(reader->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)el_wset(reader->edit, EL_ADDFN, L"costeer-paste", L"Insert what is pasted",
                  insert_paste); /* el_set would leak copies */
    (void)el_set(reader->edit, EL_BIND, PASTE_BEGIN, "costeer-paste", NULL);
    cs_terminal_watch();
    load_history(reader);
    (void)el_source(reader->edit, NULL); /* ~/.editrc */
    return true;
}

cs_line_reader *cs_line_create(const cs_line_params *params)
{
    cs_line_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) {
        return NULL;
    }
    reader->params = *params;
    reader->line.cap = LINE_BYTES_MAX;
    const bool is_terminal = isatty(STDIN_FILENO) == 1 && (isatty(STDOUT_FILENO) == 1 || isatty(STDERR_FILENO) == 1);
    if (is_terminal && !open_terminal(reader)) {
        free(reader);
        return NULL;
    }
    return reader;
}

void cs_line_free(cs_line_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    if (reader->history != NULL) {
        save_history(reader);
        history_end(reader->history);
    }
    if (reader->edit != NULL) {
        el_end(reader->edit);
    }
    cs_buffer_dispose(&reader->line);
    free(reader);
}

bool cs_line_is_terminal(const cs_line_reader *reader)
{
    return reader->edit != NULL;
}

/* ---- a line ------------------------------------------------------------------------------------------------------ */

/* One line of the terminal, without its end, at the end of what is there. */
static cs_line_end edit_line(cs_line_reader *reader)
{
    int n = 0;
    reader->is_interrupted = false;
    mark_pastes(reader, PASTE_ON);
    const char *text = el_gets(reader->edit, &n);
    mark_pastes(reader, PASTE_OFF);
    if (text == NULL || n <= 0) {
        FILE *shown = NULL;
        (void)el_get(reader->edit, EL_GETFP, 1, &shown);
        (void)fputs("\n", shown != NULL ? shown : stderr);
        el_reset(reader->edit);
        return reader->is_interrupted ? CS_LINE_INTERRUPTED : CS_LINE_END;
    }
    n -= text[n - 1] == '\n' ? 1 : 0;
    return cs_buffer_append(&reader->line, text, (size_t)n) ? CS_LINE_READ : refuse_long();
}

static cs_line_end read_line(cs_line_reader *reader)
{
    const size_t n_before = reader->line.n_bytes;
    bool is_long = false;
    for (;;) {
        const int byte = next_byte(reader);
        if (byte == -1) {
            return CS_LINE_INTERRUPTED;
        }
        if (byte == -2 && reader->line.n_bytes == n_before && !is_long) {
            return CS_LINE_END;
        }
        if (byte == -2 || byte == '\n') {
            return is_long ? refuse_long() : CS_LINE_READ;
        }
        is_long = is_long || !cs_buffer_append(&reader->line, &(char){(char)byte}, 1);
    }
}

static cs_line_end check(const cs_line_reader *reader)
{
    size_t bad = 0;
    if (memchr(reader->line.bytes, '\0', reader->line.n_bytes) != NULL) {
        cs_fail(CS_EXIT_INPUT, "a line has a NUL in it; it must be plain text");
        return CS_LINE_BAD;
    }
    if (!cs_utf8_check(reader->line.bytes, reader->line.n_bytes, &bad)) {
        cs_fail(CS_EXIT_INPUT, "a line is not UTF-8: byte %zu; convert it first, for example with iconv", bad);
        return CS_LINE_BAD;
    }
    return CS_LINE_READ;
}

/* A backslash at the end becomes a line end. True: the line goes on. */
static bool goes_on(cs_line_reader *reader)
{
    cs_buffer *line = &reader->line;
    if (line->n_bytes > 0 && line->bytes[line->n_bytes - 1] == '\r') {
        line->bytes[--line->n_bytes] = '\0';
    }
    if (line->n_bytes == 0 || line->bytes[line->n_bytes - 1] != '\\') {
        return false;
    }
    line->bytes[line->n_bytes - 1] = '\n';
    return true;
}

static void remember(const cs_line_reader *reader)
{
    HistEvent event;
    if (reader->history != NULL && reader->line.n_bytes > 0 && strspn(reader->line.bytes, " \t\n") < reader->line.n_bytes) {
        (void)history(reader->history, &event, H_ENTER, reader->line.bytes);
    }
}

cs_line_end cs_line_read(cs_line_reader *reader, const char **line)
{
    cs_line_end end;
    reader->line.n_bytes = 0;
    reader->is_continued = false;
    *line = NULL;
    do {
        const bool is_first = !reader->is_continued;
        end = cs_buffer_append(&reader->line, "", 0) ? CS_LINE_READ : refuse_long();
        if (end == CS_LINE_READ) {
            end = reader->edit != NULL ? edit_line(reader) : read_line(reader);
        }
        if (end == CS_LINE_END && !is_first) {
            end = CS_LINE_READ; /* the end ends the line too */
            break;
        }
        reader->is_continued = end == CS_LINE_READ && goes_on(reader);
    } while (reader->is_continued);
    end = end == CS_LINE_READ ? check(reader) : end;
    if (end == CS_LINE_READ) {
        remember(reader);
        *line = reader->line.bytes;
    }
    return end;
}
