/*
 * The engine's side of chat templates: values in, marked text out.
 *
 * Only the interpreter is used (jinja/), not common/chat.h: that rewrites messages and templates for the sake of tool calls, and
 * the aim here is the text that transformers makes of the same messages. The interpreter keeps apart what came from a message
 * and what the template wrote (its "input marking"), which is how a control token that a message spells stays text.
 */
#include "core/chat_template.h"

extern "C" {
#include "util/error.h"
}

#include <cstdlib>
#include <cstring>
#include <jinja/lexer.h>
#include <jinja/parser.h>
#include <jinja/runtime.h>
#include <jinja/value.h>
#include <new>
#include <string>
#include <vector>

namespace
{

/* Above any real template (the longest known has 30 kB), below what would exhaust the stack of the engine's parser. */
constexpr size_t source_bytes_max = (size_t)64 << 10;
constexpr int nesting_max = 200;

/* Stand-ins for messages when a template is tried: users cannot mean these control bytes, and no trim() takes them. */
const char system_mark[] = "\x01\x02system\x03\x01";
const char user_mark[] = "\x01\x02user\x03\x01";

struct said {
    const char *role;
    const char *content;
};

/* The engine's message for a failure is a page with a piece of source; its last line says what went wrong. */
std::string reason_of(const std::exception &e, bool *is_refusal)
{
    std::string text = e.what();
    for (const char *mark : {"Error: ", "Jinja Exception: "}) {
        const size_t at = text.rfind(mark);
        if (at != std::string::npos) {
            text.erase(0, at + std::strlen(mark));
            *is_refusal = *is_refusal || mark[0] == 'J';
        }
    }
    text.erase(0, text.find_first_not_of(" \n"));
    text.erase(text.find('\n') == std::string::npos ? text.size() : text.find('\n'));
    for (char &c : text) {
        c = (unsigned char)c < 0x20 || c == 0x7F ? ' ' : c;
    }
    return text;
}

/* +1 for a tag that opens a block, -1 for one that closes it. `tag` is what follows "{%". */
int block_step(const char *tag)
{
    tag += std::strspn(tag, "-+ \t\r\n");
    for (const char *opens : {"if", "for", "macro", "call", "filter"}) {
        if (std::strncmp(tag, opens, std::strlen(opens)) == 0) {
            return 1;
        }
    }
    return std::strncmp(tag, "end", 3) == 0 ? -1 : 0;
}

/* The engine's parser calls itself for every level of brackets and blocks. */
bool nests_too_deep(const char *source)
{
    int brackets = 0;
    int blocks = 0;
    bool too_deep = false;
    for (const char *at = source; *at != '\0' && !too_deep; at++) {
        brackets += std::strchr("([{", *at) != nullptr ? 1 : 0;
        brackets -= std::strchr(")]}", *at) != nullptr && brackets > 0 ? 1 : 0;
        blocks += at[0] == '{' && at[1] == '%' ? block_step(at + 2) : 0;
        too_deep = brackets > nesting_max || blocks > nesting_max;
    }
    return too_deep;
}

} // namespace

struct cs_chat_template {
    jinja::program program;
    std::string source;
    std::string name;
    std::string bos;
    std::string eos;
    bool has_typed_content = false; /* content as a list of parts, for templates that take no string */
    bool has_system_role = false;
    std::string default_system;
};

namespace
{

jinja::value make_message(const cs_chat_template &self, const said &message)
{
    auto out = jinja::mk_val<jinja::value_object>();
    out->insert("role", jinja::mk_val<jinja::value_string>(std::string(message.role)));
    auto content = jinja::mk_val<jinja::value_string>(jinja::string(message.content, true));
    if (!self.has_typed_content) {
        out->insert("content", content);
        return out;
    }
    auto part = jinja::mk_val<jinja::value_object>();
    part->insert("type", jinja::mk_val<jinja::value_string>(std::string("text")));
    part->insert("text", content);
    auto parts = jinja::mk_val<jinja::value_array>();
    parts->push_back(part);
    out->insert("content", parts);
    return out;
}

std::vector<jinja::string_part> run(const cs_chat_template &self, const std::vector<said> &messages, bool thinking)
{
    jinja::context context(self.source);
    auto list = jinja::mk_val<jinja::value_array>();
    for (const said &message : messages) {
        list->push_back(make_message(self, message));
    }
    context.set_val("messages", list);
    context.set_val("tools", jinja::mk_val<jinja::value_none>());
    context.set_val("documents", jinja::mk_val<jinja::value_none>());
    context.set_val("add_generation_prompt", jinja::mk_val<jinja::value_bool>(true));
    context.set_val("bos_token", jinja::mk_val<jinja::value_string>(self.bos));
    context.set_val("eos_token", jinja::mk_val<jinja::value_string>(self.eos));
    context.set_val("enable_thinking", jinja::mk_val<jinja::value_bool>(thinking));
    context.set_val("thinking", jinja::mk_val<jinja::value_bool>(thinking));
    context.set_val("thinking_mode", jinja::mk_val<jinja::value_string>(std::string(thinking ? "enabled" : "disabled")));
    jinja::runtime runtime(context);
    return jinja::runtime::gather_string_parts(runtime.execute(self.program))->val_str.parts;
}

/* As run(), as one text; false when the template fails on it. */
bool try_run(const cs_chat_template &self, const std::vector<said> &messages, std::string *out)
{
    out->clear();
    try {
        for (const jinja::string_part &part : run(self, messages, false)) {
            *out += part.val;
        }
        return true;
    } catch (const std::bad_alloc &) {
        throw;
    } catch (const std::exception &) {
        return false;
    }
}

bool has(const std::string &text, const char *mark)
{
    return text.find(mark) != std::string::npos;
}

/* What stands in `plain` where `given` has a system message of the caller's: what is left between their common ends. */
std::string difference(const std::string &plain, const std::string &given)
{
    size_t begin = 0;
    while (begin < plain.size() && begin < given.size() && plain[begin] == given[begin]) {
        begin++;
    }
    size_t end = 0;
    while (end < plain.size() - begin && end < given.size() && plain[plain.size() - 1 - end] == given[given.size() - 1 - end]) {
        end++;
    }
    const std::string middle = plain.substr(begin, plain.size() - begin - end);
    const size_t first = middle.find_first_not_of(" \t\r\n");
    return first == std::string::npos ? "" : middle.substr(first, middle.find_last_not_of(" \t\r\n") + 1 - first);
}

void find_traits(cs_chat_template *self)
{
    std::string plain;
    std::string given;
    if (!try_run(*self, {{"user", user_mark}}, &plain) || !has(plain, user_mark)) {
        self->has_typed_content = true;
        self->has_typed_content = try_run(*self, {{"user", user_mark}}, &given) && has(given, user_mark);
        plain = self->has_typed_content ? given : plain;
    }
    self->has_system_role = try_run(*self, {{"system", system_mark}, {"user", user_mark}}, &given) && has(given, system_mark);
    if (self->has_system_role && has(plain, user_mark)) {
        self->default_system = difference(plain, given);
    }
}

costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "prompt", "no memory for a chat template");
}

} // namespace

costeer_err cs_chat_template_create(const char *source, const char *name, const char *bos, const char *eos,
                                    cs_chat_template **out, costeer_error *err)
{
    *out = nullptr;
    if (std::strlen(source) > source_bytes_max || nests_too_deep(source)) {
        return cs_error_set(err, COSTEER_EMODEL, "prompt", "%s: its chat template is longer than %zu bytes or nested too deep",
                            name, source_bytes_max);
    }
    cs_chat_template *self = nullptr;
    try {
        self = new cs_chat_template();
        jinja::lexer lexer;
        const jinja::lexer_result tokens = lexer.tokenize(source);
        self->program = jinja::parse_from_tokens(tokens);
        self->source = tokens.source;
        self->name = name;
        self->bos = bos;
        self->eos = eos;
        find_traits(self);
        *out = self;
        return COSTEER_OK;
    } catch (const std::bad_alloc &) {
        delete self;
        return no_memory(err);
    } catch (const std::exception &e) {
        delete self;
        bool is_refusal = false;
        return cs_error_set(err, COSTEER_EMODEL, "prompt",
                            "%s: has a chat template that cannot be read (%.120s); name another for this model, or raw for none",
                            name, reason_of(e, &is_refusal).c_str());
    }
}

void cs_chat_template_free(cs_chat_template *self)
{
    delete self;
}

cs_chat_traits cs_chat_template_traits(const cs_chat_template *self)
{
    return {self->has_system_role, self->default_system.empty() ? nullptr : self->default_system.c_str()};
}

/* ---- renderings -------------------------------------------------------------------------------------------------- */

void cs_chat_rendering_dispose(cs_chat_rendering *rendering)
{
    if (rendering != nullptr) {
        std::free(rendering->text);
        std::free(rendering->parts);
        *rendering = {};
    }
}

bool cs_chat_rendering_append(cs_chat_rendering *rendering, const char *text, size_t n_bytes, bool is_input)
{
    char *grown = (char *)std::realloc(rendering->text, rendering->n_bytes + n_bytes + 1);
    rendering->text = grown != nullptr ? grown : rendering->text;
    auto *parts = (cs_chat_part *)std::realloc(rendering->parts, (rendering->n_parts + 1) * sizeof *rendering->parts);
    rendering->parts = parts != nullptr ? parts : rendering->parts;
    if (grown == nullptr || parts == nullptr) {
        return false;
    }
    std::memcpy(grown + rendering->n_bytes, text, n_bytes);
    rendering->n_bytes += n_bytes;
    grown[rendering->n_bytes] = '\0';
    parts[rendering->n_parts++] = {n_bytes, is_input};
    return true;
}

costeer_err cs_chat_template_render(const cs_chat_template *self, const costeer_message *messages, size_t n, bool thinking,
                                    cs_chat_rendering *out, costeer_error *err)
{
    cs_chat_rendering_dispose(out);
    try {
        std::vector<said> list;
        for (size_t i = 0; i < n; i++) {
            list.push_back({messages[i].role, messages[i].content});
        }
        for (const jinja::string_part &part : run(*self, list, thinking)) {
            if (!cs_chat_rendering_append(out, part.val.data(), part.val.size(), part.is_input)) {
                throw std::bad_alloc();
            }
        }
        return COSTEER_OK;
    } catch (const std::bad_alloc &) {
        return no_memory(err);
    } catch (const std::exception &e) {
        bool is_refusal = false;
        const std::string reason = reason_of(e, &is_refusal);
        return is_refusal ? cs_error_set(err, COSTEER_EINVAL, "prompt", "%s: its chat template refuses the messages: %.160s",
                                         self->name.c_str(), reason.c_str())
                          : cs_error_set(err, COSTEER_EMODEL, "prompt",
                                         "%s: its chat template fails (%.120s); name another for this model, or raw for none",
                                         self->name.c_str(), reason.c_str());
    }
}
